"""The user guide, for the API reference. Its pages are Markdown files in this folder.

``import npchar`` does not import this package.
"""

import pkgutil
import re

__all__ = [  # noqa: RUF022  (in the order of the guide)
    "choose_settings",
    "read_loss",
    "generate_text",
    "your_texts",
    "troubleshooting",
    "keras_and_pytorch",
    "upgrade",
    "limits",
    "glossary",
    "shipped_models",
]


def page(name: str, folder: str = "") -> str:
    """Return the text of a page, with links that are valid in the site of the API reference.

    Links to other pages lead to HTML files in a folder. Links to other files of the repository
    become plain text, because the site does not contain them.
    """
    text = (pkgutil.get_data(__name__, f"{name}.md") or b"").decode()
    text = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", text)
    return re.sub(r"\]\((\w+)\.md", rf"]({folder}\1.html", text)


__doc__ = page("README", "guide/")

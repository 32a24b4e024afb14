"""A model as a page: one HTML file that writes in a browser, with no server behind it.

The weights come from ``network.py``, the characters from ``text.py``. Around them
stands ``page.html``, whose script takes the steps of ``lstm.py`` and draws as
``sampling.py`` does, equation for equation: read it beside them. The page loads
nothing from anywhere, and sends nothing.
"""

from __future__ import annotations

from pathlib import Path

from npchar.network import Network
from npchar.text import Vocabulary
from npchar.version import __version__

TEMPLATE = Path(__file__).with_name("page.html")


def page(network: Network, vocabulary: Vocabulary, prompt: str | None = None) -> str:
    """A network as a page of HTML, to be written to a file in UTF-8.

    Opened in a browser, from the disk too, it goes on from any prompt, shows what may
    come next and what the cells hold, and colours the text by a cell's value. It is
    as large as the weights in base64, 16 bytes for three of them, and 26 kB more.

    Parameters
    ----------
    network
        The network; float64 weights become float32.
    vocabulary
        Its characters.
    prompt
        What the page begins with; the reader can change it. When not given,
        something short that the model knows.

    Raises
    ------
    ValueError
        When the vocabulary is of tokens instead of characters.
    """
    import base64  # these two here: `import npchar` need not wait for them
    import json

    if vocabulary.tokens:
        raise ValueError(
            "the page writes characters; this model's vocabulary is of tokens: train one on "
            "characters, with npchar.Vocabulary.from_text(text)"
        )
    V, H, layers, _ = network.sizes
    description = {
        "npchar": __version__,
        # One by one: in a string, a browser would take two lone surrogates for a pair.
        "characters": list(vocabulary),
        "hidden_size": H,
        "num_layers": layers,
        "prompt": first_prompt(vocabulary) if prompt is None else prompt,
    }
    weights = base64.encodebytes(network.parameters.flat.astype("<f4").tobytes()).decode()
    # JSON in ASCII has no character left that HTML or JavaScript would take amiss but
    # "<", which could end the script that it stands in.
    model = json.dumps(description, ensure_ascii=True).replace("<", r"\u003c")
    template = TEMPLATE.read_text(encoding="utf-8")
    # The model last, as a prompt may have the other's mark in it.
    return template.replace("{{ weights }}", weights).replace("{{ model }}", model)


def first_prompt(vocabulary: Vocabulary) -> str:
    """A word of English; of another alphabet its first letter; or whatever comes first."""
    if all(character in vocabulary for character in "the "):
        return "the "
    letters = (character for character in vocabulary if character.isalpha())
    return next(letters, vocabulary.characters[0])

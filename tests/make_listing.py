"""Make the notebooks of listing 8.1, in English and Chinese, from ``examples/listing-8.1.md``.

    pip install ".[run-notebooks]"
    python tests/make_listing.py

The source has prose in both languages and code for both. The code is executed once, and both
notebooks get its outputs.
"""

import json
import re
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
SOURCE = EXAMPLES / "listing-8.1.md"
NOTEBOOKS = {"en": EXAMPLES / "listing-8.1.ipynb", "zh": EXAMPLES / "listing-8.1.zh.ipynb"}
BLOCK = r"^<!-- (en|zh) -->\n(.*?)(?=^<!-- |^```python|\Z)|^```python( hide-input)?\n(.*?)^```\n"
HIDDEN = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}


def make_notebook(language):
    """The notebook in a language, without outputs."""
    cells = []
    blocks = re.finditer(BLOCK, SOURCE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for prose_language, prose, hidden, code in (block.groups() for block in blocks):
        if prose_language not in (None, language):
            continue
        cell = {"id": f"l-{len(cells):02}", "metadata": HIDDEN if hidden else {}}
        if code is None:
            cell |= {"cell_type": "markdown", "source": prose.strip()}
        else:
            cell |= {"cell_type": "code", "source": code.strip(), "outputs": []}
            cell["execution_count"] = None
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main():
    """Execute the code and write both notebooks."""
    import nbclient
    import nbformat

    executed = nbformat.from_dict(make_notebook("en"))
    resources = {"metadata": {"path": EXAMPLES}}
    nbclient.NotebookClient(
        executed, timeout=None, kernel_name="python3", resources=resources, record_timing=False
    ).execute()
    for language, path in NOTEBOOKS.items():
        notebook = nbformat.from_dict(make_notebook(language))
        for cell, done in zip(notebook.cells, executed.cells):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()

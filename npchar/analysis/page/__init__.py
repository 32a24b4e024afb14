"""Models as a page: one HTML file that generates text in a browser, without a server.

The weights come from ``network/network.py``, the characters from ``text/vocabulary.py``. They are
put into ``page.html``, with its style (``page.css``) and its script. Three parts of the script
repeat Python code: ``network.js`` has the equations of ``layers/``, forward and backward, and
samples as ``generation/sampling.py`` does; ``features.js`` finds the units that follow a feature,
as ``activations.py`` does; ``files.js`` reads model files as ``files.py`` does. The rest is the
page itself: ``state.js`` has its state, ``view.js`` shows it, ``page.js`` handles what a reader
does, and ``tour.js`` guides through it. Long work is done in slices, by generators, so that the
page stays responsive. The page loads nothing from the network and sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from npchar.network.network import Network
from npchar.text.vocabulary import Vocabulary
from npchar.version import __version__

SCRIPTS = ("network.js", "features.js", "state.js", "view.js", "files.js", "page.js", "tour.js")
KINDS = ("lstm", "gru", "rnn", "conv")  # the layers that its script runs


class PageModel(NamedTuple):
    """A model for the page."""

    name: str  # in the list to choose from
    network: Network  # float64 weights become float32
    vocabulary: Vocabulary  # of characters
    prompt: str | None = None  # what it begins with; None for a short one of the vocabulary's
    about: str = ""  # a sentence for the reader


def page(models: Sequence[PageModel]) -> str:
    """Models as a page of HTML, to be written to a file in UTF-8.

    The page works in any browser, also from the disk. It opens with an example: a text that the
    first model generates, coloured by the unit that follows a feature of it most closely. Readers
    can colour it by surprise, generate from any prompt, compare temperatures and models, go back
    to any character and see what its prediction depended on, rank and pin units, open their own
    texts and model files, and copy a link to what they see. The file is as large as the weights in
    base64, 16 bytes for three weights (8 if all of them are 16-bit floats), and 90 kB more.

    Parameters
    ----------
    models
        The first is the one that it opens with.

    Raises
    ------
    ValueError
        When a vocabulary is of tokens instead of characters, or the layers are of a kind
        that the page does not run.
    """
    import json  # here, for a fast `import npchar`

    described = [description_and_weights(model) for model in models]
    # JSON in ASCII has no character left that HTML or JavaScript would take amiss but
    # "<", which could end the script that it stands in.
    descriptions = json.dumps([one for one, _ in described], ensure_ascii=True)
    parts = {
        "style": read("page.css"),
        "script": "\n".join(map(read, SCRIPTS)),
        "weights": "".join(
            f'<script type="text/plain" class="weights">\n{weights}</script>\n'
            for _, weights in described
        ),
        # The last, as a prompt may have another's mark in it.
        "descriptions": descriptions.replace("<", r"\u003c"),
    }
    text = read("page.html")
    for name, part in parts.items():
        text = text.replace(f"{{{{ {name} }}}}", part)
    return text


def read(name: str) -> str:
    """A part of the page, from the file beside this one."""
    from importlib import resources  # here, for a fast `import npchar`

    return (resources.files("npchar.analysis.page") / name).read_text(encoding="utf-8")


def description_and_weights(model: PageModel) -> tuple[dict[str, str | int | list[str]], str]:
    """What the page's script has to know of a model, and its weights in base64."""
    import base64

    name, network, vocabulary, prompt, about = model
    if vocabulary.tokens:
        raise ValueError(
            "expected a model of characters for the page, got one of tokens; train one on "
            "characters, with npchar.Vocabulary.from_text(text)"
        )
    _, H, layers, _, layer, _ = network.config
    if layer not in KINDS:
        raise ValueError(
            f"expected a model of {', '.join(KINDS[:-1])} or {KINDS[-1]} layers for the page, got "
            f"one of {layer}; `generate` and `stream` run any model"
        )
    network = network.astype("float32")  # a copy
    if vocabulary.unknown_id is not None:
        network.parameters["dense.b"][vocabulary.unknown_id] = -30_000  # never generated
    weights = network.parameters.flat.astype("<f4")
    with np.errstate(under="ignore"):
        half = weights.clip(-60_000, 60_000).astype("<f2")
    exact = np.array_equal(half, weights)
    description: dict[str, str | int | list[str]] = {
        "npchar": __version__,
        "name": name,
        "about": about,
        # One by one: in a string, a browser would take two lone surrogates for a pair.
        "characters": list(vocabulary.characters),
        "layer": layer,
        "hidden_size": H,
        "num_layers": layers,
        "bits": 16 if exact else 32,
        "prompt": first_prompt(vocabulary) if prompt is None else prompt,
    }
    return description, base64.encodebytes((half if exact else weights).tobytes()).decode()


def first_prompt(vocabulary: Vocabulary) -> str:
    """A word of English; of another alphabet its first letter; or whatever comes first."""
    if all(character in vocabulary for character in "the "):
        return "the "
    letters = (character for character in vocabulary.characters if character.isalpha())
    return next(letters, vocabulary.characters[0])

"""A single HTML file that runs models in a browser, without a server.

`page` inserts the weights of models (``network/network.py``), their characters
(``text/vocabulary.py``), the style (``page.css``) and the script into ``page.html``. Three parts of
the script correspond to Python code. ``network.js`` has the equations of ``layers/``, forward and
backward, and the sampling of ``generation/sampling.py``. ``features.js`` finds the units that
follow a feature, as ``activations.py`` does. ``files.js`` reads model files, as ``files.py`` does.
The other parts are the page itself: ``state.js`` has its state, ``view.js`` displays it,
``page.js`` handles events, and ``tour.js`` is a guided tour. Long computations run in slices, by
generators, so that the page stays responsive. The page makes no network requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from npchar.network.network import Network
from npchar.text.vocabulary import Vocabulary
from npchar.version import __version__

SCRIPTS = ("network.js", "features.js", "state.js", "view.js", "files.js", "page.js", "tour.js")
KINDS = ("lstm", "gru", "rnn", "conv")  # the kinds of layers that the script supports


class PageModel(NamedTuple):
    """A model for the page."""

    name: str  # in the list of models
    network: Network  # float64 weights are converted to float32
    vocabulary: Vocabulary  # of characters
    prompt: str | None = None  # the initial prompt; by default a short text of the vocabulary
    about: str = ""  # a description for the reader


def page(models: Sequence[PageModel]) -> str:
    """Create an HTML page that runs models, for a file in UTF-8.

    The page works in any browser, also from a local file. It starts with an example: a text by the
    first model, coloured by the unit that correlates most with a feature. Readers can colour the
    text by surprise, generate from any prompt, compare temperatures and models, show the saliency
    of any character, rank and pin units, open their own texts and model files, and copy a link to
    the current state. The file needs 16 bytes for three weights (8 if 16-bit floats are exact),
    and 90 kB more.

    Parameters
    ----------
    models
        The models. The page starts with the first one.

    Raises
    ------
    ValueError
        If a vocabulary has tokens instead of characters, or the page does not support a kind of
        layer.
    """
    import json  # here, for a fast `import npchar`

    described = [description_and_weights(model) for model in models]
    # In ASCII JSON, only "<" has to be escaped, because it could end the script element.
    descriptions = json.dumps([one for one, _ in described], ensure_ascii=True)
    parts = {
        "style": read("page.css"),
        "script": "\n".join(map(read, SCRIPTS)),
        "weights": "".join(
            f'<script type="text/plain" class="weights">\n{weights}</script>\n'
            for _, weights in described
        ),
        # This part is last, because a prompt may contain the placeholder of another part.
        "descriptions": descriptions.replace("<", r"\u003c"),
    }
    text = read("page.html")
    for name, part in parts.items():
        text = text.replace(f"{{{{ {name} }}}}", part)
    return text


def read(name: str) -> str:
    """Read a part of the page from a file in this package."""
    from importlib import resources  # here, for a fast `import npchar`

    return (resources.files("npchar.analysis.page") / name).read_text(encoding="utf-8")


def description_and_weights(model: PageModel) -> tuple[dict[str, str | int | list[str]], str]:
    """The description of a model for the script, and its weights in base64."""
    import base64

    name, network, vocabulary, prompt, about = model
    if vocabulary.tokens:
        raise ValueError(
            "expected a model of characters for the page, got one of tokens; train a model with a "
            "vocabulary from npchar.Vocabulary.from_text(text)"
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
        # A list, because a browser would read two lone surrogates in a string as a pair.
        "characters": list(vocabulary.characters),
        "layer": layer,
        "hidden_size": H,
        "num_layers": layers,
        "bits": 16 if exact else 32,
        "prompt": first_prompt(vocabulary) if prompt is None else prompt,
    }
    return description, base64.encodebytes((half if exact else weights).tobytes()).decode()


def first_prompt(vocabulary: Vocabulary) -> str:
    """The prompt "the " if possible, else the first letter, else the first character."""
    if all(character in vocabulary for character in "the "):
        return "the "
    letters = (character for character in vocabulary.characters if character.isalpha())
    return next(letters, vocabulary.characters[0])

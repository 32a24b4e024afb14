"""A model as a page: one HTML file that generates text in a browser, without a server.

The weights come from ``layers/network.py``, the characters from ``text/vocabulary.py``. They are
put into ``page.html``, whose script runs the equations of ``layers/lstm.py``, ``gru.py`` or
``rnn.py`` and samples as ``generation/sampling.py`` does: read it beside them. The page loads
nothing from the network and sends nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npchar.layers.network import Network
from npchar.text.vocabulary import Vocabulary
from npchar.version import __version__

TEMPLATE = Path(__file__).with_name("page.html")
KINDS = ("lstm", "gru", "rnn")  # the layers that its script runs


def page(network: Network, vocabulary: Vocabulary, prompt: str | None = None) -> str:
    """A network as a page of HTML, to be written to a file in UTF-8.

    Opened in a browser, from the disk too, it generates text from any prompt, shows the
    distribution of the next character and the units (an LSTM's cells), and colours the text
    by one of them. It is as large as the weights in base64, 16 bytes for three of them (8
    where all of them are 16-bit floats, as read from such a file), and 28 kB more.

    Parameters
    ----------
    network
        The network, of LSTM, GRU or plain recurrent layers; float64 weights become float32.
    vocabulary
        Its characters.
    prompt
        The prompt the page begins with; the reader can change it. When not given, a
        short one of the vocabulary's characters.

    Raises
    ------
    ValueError
        When the vocabulary is of tokens instead of characters, or the network of
        convolutions.
    """
    import base64  # these two here, for a fast `import npchar`
    import json

    if vocabulary.tokens:
        raise ValueError(
            "expected a model of characters for the page, got one of tokens; train one on "
            "characters, with npchar.Vocabulary.from_text(text)"
        )
    _, H, layers, _, layer, _ = network.sizes
    if layer not in KINDS:
        raise ValueError(
            f"expected a model of {', '.join(KINDS[:-1])} or {KINDS[-1]} layers for the page, got "
            f"one of {layer}; `generate` and `stream` run any model"
        )
    network = network.astype("float32")  # a copy
    if vocabulary.stand_in is not None:
        never = list(vocabulary).index(vocabulary.stand_in)  # is that to be generated
        network.parameters["dense.b"][never] = -30_000
    weights = network.parameters.flat.astype("<f4")
    half = weights.clip(-60_000, 60_000).astype("<f2")
    exact = np.array_equal(half, weights)
    description = {
        "npchar": __version__,
        # One by one: in a string, a browser would take two lone surrogates for a pair.
        "characters": list(vocabulary),
        "layer": layer,
        "hidden_size": H,
        "num_layers": layers,
        "bits": 16 if exact else 32,
        "prompt": first_prompt(vocabulary) if prompt is None else prompt,
    }
    in_base64 = base64.encodebytes((half if exact else weights).tobytes()).decode()
    # JSON in ASCII has no character left that HTML or JavaScript would take amiss but
    # "<", which could end the script that it stands in.
    model = json.dumps(description, ensure_ascii=True).replace("<", r"\u003c")
    template = TEMPLATE.read_text(encoding="utf-8")
    # The model last, as a prompt may have the other's mark in it.
    return template.replace("{{ weights }}", in_base64).replace("{{ model }}", model)


def first_prompt(vocabulary: Vocabulary) -> str:
    """A word of English; of another alphabet its first letter; or whatever comes first."""
    if all(character in vocabulary for character in "the "):
        return "the "
    letters = (character for character in vocabulary if character.isalpha())
    return next(letters, vocabulary.characters[0])

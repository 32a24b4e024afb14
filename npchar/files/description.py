"""What a model's file says of the model, beside its arrays.

``model.py`` saves and loads by it, ``files/resume.py`` and ``files/archive.py`` do the rest.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from npchar.arguments import require_positive
from npchar.files import archive
from npchar.files.archive import Layout
from npchar.files.resume import require_kind, trained_on, training_layout
from npchar.network.network import Network, Sizes
from npchar.text.vocabulary import END, Vocabulary
from npchar.version import __version__

__all__ = ["training_settings"]

DTYPES = ("float32", "float64")  # of a model
DERIVED = ("optimizer_arguments", "warm_up", "epsilon")  # settings that are no arguments of `fit`
STORED = ("float16", *DTYPES)  # of the weights in its file


def configuration(
    vocabulary: Vocabulary,
    network: Network,
    stored: str | None = None,
    lower_case: bool = False,
) -> dict[str, Any]:
    """The description of a model, in JSON's types; `stored` as `dtype` of `Model.save`."""
    import json  # here, as `import npchar` need not wait for it

    _, H, layers, dropout, layer, recurrent_dropout = network.sizes
    symbols = json.loads(json.dumps(vocabulary.symbols))
    if not vocabulary.tokens and symbols != vocabulary.symbols:
        symbols = list(vocabulary)  # lone surrogates, which JSON would join to pairs
    dtype = str(network.parameters.flat.dtype)
    other: dict[str, Any] = {} if stored in (None, dtype) else {"stored": stored}
    if recurrent_dropout:
        other["recurrent_dropout"] = recurrent_dropout
    if vocabulary.unknown_symbol is not None:
        other["stand_in"] = vocabulary.unknown_symbol
    # About the texts: beside "model", where version 1.0 ignores keys that it does not know
    texts = {"lower_case": True} if lower_case else {}
    if END in vocabulary and not vocabulary.documents:
        texts["documents"] = False
    return {
        **({"format": 2} if other else {}),
        "npchar": __version__,
        "epochs_trained": network.epochs_trained,
        **texts,
        "model": {
            # JSON has no tuples: they become lists
            "tokens" if vocabulary.tokens else "characters": symbols,
            "hidden_size": H,
            "num_layers": layers,
            "dropout": dropout,
            "dtype": dtype,
            **({} if layer == "lstm" else {"layer": layer}),  # none in files before version 1
            **other,
        },
    }


def described(configuration: dict[str, Any]) -> tuple[Vocabulary, dict[str, Any]]:
    """The vocabulary and the sizes of a description, or an error if they make no sense."""
    sizes = dict(configuration["model"])
    sizes.pop("stored", None)
    tokens = "tokens" in sizes
    symbols = sizes.pop("tokens" if tokens else "characters")
    if tokens:
        symbols = as_tuples(symbols)
    elif isinstance(symbols, list):
        symbols = "".join(symbols)
    unknown_symbol = as_tuples(sizes.pop("stand_in", None))
    documents = configuration.get("documents", END in symbols)  # version 1.0 did not write it
    lower_case = configuration.get("lower_case", False)
    if not isinstance(documents, bool) or not isinstance(lower_case, bool):
        raise ValueError(f"documents is {documents!r} and lower_case {lower_case!r}")
    vocabulary = Vocabulary(
        symbols, tokens=tokens, unknown_symbol=unknown_symbol, documents=documents
    )
    if vocabulary.symbols != symbols or len(vocabulary) < 2:
        raise ValueError("its characters are not two or more in their order")
    return vocabulary, sizes


def as_tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(as_tuples(one) for one in value) if isinstance(value, list) else value


def layout(configuration: dict[str, Any]) -> Layout:
    """The arrays of a model's file; raises an error if its configuration makes no sense."""
    require_kind(configuration.get("epochs_trained", 0), 0)
    vocabulary, described_sizes = described(configuration)
    dtype = described_sizes.pop("dtype")
    sizes = Sizes(len(vocabulary), **described_sizes)
    require_positive(hidden_size=sizes.hidden_size, num_layers=sizes.num_layers)
    stored = configuration["model"].get("stored", dtype)
    right = sizes.num_layers <= 1000 and dtype in DTYPES
    right &= 0 <= sizes.dropout < 1 and 0 <= sizes.recurrent_dropout < 1
    if not right or stored not in STORED:
        raise ValueError(f"it has {sizes} and the types {dtype!r} and {stored!r}")
    code = np.dtype(dtype).str
    shapes = sizes.shapes()
    arrays: Layout = {name: (np.dtype(stored).str, shape) for name, shape in shapes.items()}
    if "training" in configuration:
        size = sum(math.prod(shape) for shape in shapes.values())
        arrays |= training_layout(configuration["training"], size, code)
    trained_on(configuration)
    return arrays


def training_settings(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The arguments of the `Model.fit` that a checkpoint is of; None for a model alone.

    With the same text, ``Model.load(path).fit(text, checkpoint=path, resume=True,
    **settings)`` goes on with it.

    Raises
    ------
    CheckpointError
        When the file is not one of npchar's, or is damaged.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> history = model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False, checkpoint="a.npz")
    >>> settings = npchar.training_settings("a.npz")
    >>> settings["epochs"], settings["maxlen"], settings["optimizer"]
    (1, 20, 'rmsprop')
    """
    found, _ = archive.read(path, layout)
    settings = found["training"]["settings"] if "training" in found else None
    if settings is None:
        return None
    # `fit` takes those of optimizer and schedule from the checkpoint.
    return {name: value for name, value in settings.items() if name not in DERIVED}


def unfinished(path: str | os.PathLike[str]) -> str | None:
    """How far the training has come that a file is of; None if that is over, or there is none."""
    found, _ = archive.read(path, layout)
    training = found.get("training", {"position": {"finished": True}})
    if training["position"]["finished"]:
        return None
    return f"{training['position']['epochs']} of {training['settings']['epochs']} epochs"

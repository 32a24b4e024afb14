"""The summary of a model: its layers, their sizes, and their memory."""

from __future__ import annotations

import math

from npchar.network.network import Network
from npchar.text.vocabulary import Vocabulary

BATCH, MAXLEN = 32, 60  # the defaults of `Model.fit`


def rows(network: Network) -> list[tuple[str, str, str, int]]:
    """The name, output shape, arrays and number of parameters of each layer."""
    V, H, layers, dropout, name, recurrent_dropout = network.config
    table = []
    for k in range(layers):
        named, count = arrays(network, f"{name}{k}")
        if recurrent_dropout:
            named += f", dropout {recurrent_dropout} of Wh"
        table.append((f"{name}{k}", f"(T, B, {H})", named, count))
        if dropout:
            table.append((f"dropout {dropout}", f"(T, B, {H})", "", 0))
    table.append(("dense", f"(T, B, {V})", *arrays(network, "dense")))
    return table


def arrays(network: Network, layer: str) -> tuple[str, int]:
    """The arrays of a layer by name and shape, and the number of its parameters."""
    shapes = {n: s for n, s in network.parameters.shapes.items() if n.startswith(f"{layer}.")}
    named = ", ".join(f"{name.split('.')[1]} {shape}" for name, shape in shapes.items())
    return named, sum(math.prod(shape) for shape in shapes.values())


def notes(network: Network, vocabulary: Vocabulary) -> list[str]:
    """The lines below the table."""
    V, H, *_ = network.config
    flat = network.parameters.flat
    tape = sum(layer.tape_size for layer in network.layers) * MAXLEN * BATCH * H * flat.itemsize
    logits = MAXLEN * BATCH * V * flat.itemsize
    field = network.receptive_field
    return [
        *([] if field is None else [f"receptive field: {field} {vocabulary.symbol_name}s"]),
        f"{flat.size:,} {flat.dtype} parameters, {size(flat.nbytes)}; "
        f"{V} {vocabulary.symbol_name}s",
        f"training at batch {BATCH}, maxlen {MAXLEN}: {size(tape)} for the tapes, "
        f"{size(logits)} for the logits",
        f"and {size(6 * flat.nbytes)} for weights, gradient, RMSprop and the best so far",
    ]


def summary(network: Network, vocabulary: Vocabulary) -> str:
    """The table as text."""
    table = rows(network)
    lines = [f"{'layer':<12} {'output':<14} {'parameters':>10}  arrays"]
    for layer, output, named, count in table:
        lines.append(f"{layer:<12} {output:<14} {count:>10,}  {named}".rstrip())
    return "\n".join(lines + notes(network, vocabulary))


def summary_html(network: Network, vocabulary: Vocabulary) -> str:
    """The table as HTML."""
    import html  # here, for a fast `import npchar`

    cells = "".join(
        f"<tr><td>{html.escape(layer)}</td><td>{output}</td><td>{count:,}</td><td>{named}</td></tr>"
        for layer, output, named, count in rows(network)
    )
    below = "<br>".join(html.escape(note) for note in notes(network, vocabulary))
    return (
        "<table><tr><th>layer</th><th>output</th><th>parameters</th><th>arrays</th></tr>"
        f"{cells}</table><div>{below}</div>"
    )


def size(bytes_: int) -> str:
    """A number of bytes as text, in kB or MB."""
    return f"{bytes_ / 1e6:,.1f} MB" if bytes_ >= 1e6 else f"{bytes_ / 1e3:,.1f} kB"

"""The figures of the notebooks.

The notebooks compute the numbers, and the functions here draw them, so that the cells contain no
plotting code. Each figure has an alternative text. Functions for all notebooks come first, then
those for single notebooks.
"""

from __future__ import annotations

import base64
import html
import io
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image  # installed with matplotlib

import npchar
from npchar.analysis.page import PageModel
from npchar.analysis.page import page as create_page

plt.rcParams.update({"figure.figsize": (8, 3.2), "figure.dpi": 90, "font.size": 10})
COLOURS = {"i": "tab:green", "f": "tab:red", "o": "tab:blue", "g": "tab:purple"}  # by gate
COLOURS |= {"c": "tab:orange", "h": "tab:cyan"}

# For every notebook


def show(figure: Figure, alt: str) -> None:
    """Show a figure with its alternative text, and close it.

    Parameters
    ----------
    figure
        A matplotlib figure.
    alt
        A description of the figure in one or two sentences. Screen readers read it, and viewers
        without images show it.
    """
    from IPython.display import display

    png, small = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    plt.close(figure)
    Image.open(png).convert("RGB").quantize(256).save(small, format="png", optimize=True)  # palette
    data = {"image/png": base64.b64encode(small.getvalue()).decode(), "text/plain": alt}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def slider(draw: Callable[..., object], **ranges: tuple[float, float, float]) -> None:
    """Draw a figure with parameters that a reader sets by sliders.

    Sliders need ipywidgets (the extra `notebooks`). Without it, the figure is drawn once, with the
    initial values.

    Parameters
    ----------
    draw
        A function that draws the figure, with the parameters as keyword arguments.
    ranges
        The lowest, the highest and the initial value of each parameter, as ints or floats.
    """
    try:
        import ipywidgets
    except ImportError:
        draw(**{name: first for name, (_, _, first) in ranges.items()})
        return
    kinds = {int: ipywidgets.IntSlider, float: ipywidgets.FloatSlider}
    sliders = {
        name: kinds[type(first)](first, min=low, max=high)
        for name, (low, high, first) in ranges.items()
    }
    ipywidgets.interact(draw, **sliders)


def page(models: Mapping[str, npchar.Model], prompt: str) -> None:
    """Show an interactive page that runs models, in a frame.

    The page is too large for the repository. If the environment variable NPCHAR_STATIC is set, as
    for stored notebooks, a sentence is shown in its place.

    Parameters
    ----------
    models
        The models, by their names in the list of the page.
    prompt
        The initial prompt.
    """
    from IPython.display import display

    data = {"text/plain": "An interactive page with the model. Run this cell to see it."}
    if "NPCHAR_STATIC" not in os.environ:
        pages = [PageModel(name, m.network, m.vocabulary, prompt) for name, m in models.items()]
        style = "box-sizing:border-box;width:100%;height:760px;border:1px solid #999"
        source = html.escape(create_page(pages))
        data["text/html"] = f'<iframe title="page" style="{style}" srcdoc="{source}"></iframe>'
    display(data, metadata={}, raw=True)


def visible(text: Iterable[str]) -> list[str]:
    """The characters of a text, with symbols for the space and the newline."""
    return [{" ": "␣", "\n": "⏎"}.get(character, character) for character in text]


def lines(
    x: Any,
    curves: Mapping[str, Any],
    alt: str,
    *,
    markers: Sequence[str] = ("",),
    log: bool = False,
    ticks: Sequence[str] | None = None,
    **labels: Any,
) -> None:
    """Draw curves in one pair of axes.

    Parameters
    ----------
    x
        The x coordinates of all curves, (n,).
    curves
        The y coordinates of each curve, (n,), by its name in the legend.
    alt
        The alternative text.
    markers
        The matplotlib marker of each curve; "" draws no marker.
    log
        Whether both axes are logarithmic.
    ticks
        Labels of the x values, in place of their numbers.
    labels
        Other arguments of matplotlib's `Axes.set`: title, xlabel, ylabel, ylim.
    """
    figure, axes = plt.subplots()
    for k, (name, values) in enumerate(curves.items()):
        axes.plot(x, values, marker=markers[k % len(markers)], ms=4, lw=1.3, label=name)
    if log:
        axes.set(xscale="log", yscale="log")
    else:
        axes.axhline(0, color="grey", lw=0.6)
    if ticks is not None:
        axes.set_xticks(x, ticks)
    axes.set(**labels)
    axes.legend(fontsize=9)
    show(figure, alt)


def heat_map(
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    alt: str,
    *,
    limits: tuple[float, float] = (-1, 1),
    colours: str = "RdBu_r",
    numbers: bool = False,
    name: str = "",
    **labels: Any,
) -> None:
    """Draw a table of numbers as colours.

    Parameters
    ----------
    values
        The table, (rows, columns); NaN is white.
    rows, columns
        The names of the rows and columns.
    alt
        The alternative text.
    limits
        The numbers at the two ends of the colour map.
    colours
        A matplotlib colour map.
    numbers
        Whether to write the rounded numbers into the fields.
    name
        The label of the colour bar. Without a label there is no colour bar.
    labels
        Other arguments of matplotlib's `Axes.set`: title, xlabel, ylabel.
    """
    figure, axes = plt.subplots(figsize=(8.6, 1.4 + 0.17 * len(rows)))
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), columns, fontsize=8.5)
    axes.set_yticks(range(len(rows)), rows, fontsize=8.5)
    if numbers:
        for (row, column), value in np.ndenumerate(values):
            red, green, blue, _ = image.to_rgba(value)
            ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
            axes.text(column, row, round(value), ha="center", va="center", color=ink)
    axes.set(**labels)
    if name:
        figure.colorbar(image, label=name, pad=0.02, fraction=0.03)
    show(figure, alt)


# 1  From text to tensors


def surprise(text: str, nats: Any, title: str) -> None:
    """Draw the surprise −log p of each character of a text as bars, and their mean.

    Parameters
    ----------
    text
        n characters.
    nats
        The surprise at each character, (n,), or NaN.
    title
        The title.
    """
    figure, axes = plt.subplots(figsize=(8, 2.6))
    shades = plt.colormaps["Reds"](np.nan_to_num(np.asarray(nats)) / 5 + 0.15)
    axes.bar(range(len(text)), nats, color=shades, width=1, edgecolor="white")
    mean = np.nanmean(nats)
    axes.axhline(mean, color="black", ls="--", lw=1, label=f"mean: {mean:.2f} nats")
    axes.set_xticks(range(len(text)), visible(text), family="monospace")
    axes.set(title=title, ylabel="−log p, nats", xlim=(-0.7, len(text) - 0.3))
    axes.legend(fontsize=9)
    worst = np.argsort(-np.nan_to_num(np.asarray(nats)))[:3]
    named = ", ".join(f"{text[k]!r} at place {k} ({nats[k]:.1f})" for k in worst)
    show(figure, f"Bars over the characters of {text!r}. The highest: {named}; mean {mean:.2f}.")


def next_characters(read: str, characters: str, probabilities: Any) -> None:
    """Draw the probabilities of the next character after a text.

    Parameters
    ----------
    read
        The text.
    characters
        The vocabulary, V characters.
    probabilities
        The probability of each character, (V,).
    """
    figure, axes = plt.subplots(figsize=(8, 2.4))
    axes.bar(range(len(characters)), probabilities, color="tab:blue")
    axes.set_xticks(range(len(characters)), visible(characters), fontsize=8, family="monospace")
    axes.set(ylim=(0, 1), ylabel="p(next)", title=f"After {read!r}", xlim=(-1, len(characters)))
    best = np.argsort(-np.asarray(probabilities))[:3]
    named = ", ".join(f"{characters[k]!r} {probabilities[k]:.2f}" for k in best)
    show(figure, f"Bars: the probabilities of the next character after {read!r}; first {named}.")


def windows_in_text(rows: Sequence[str], step: int) -> None:
    """Draw the first windows of a text, each at the place of its characters in the text.

    Parameters
    ----------
    rows
        The windows; the last character of each is the target.
    step
        Characters between the starts of two windows.
    """
    figure, axes = plt.subplots()
    for row, window in enumerate(rows):
        for column, character in enumerate(visible(window)):
            last = column == len(window) - 1
            box = {"fc": "orange" if last else "#cfe2f3", "ec": "white", "pad": 2.5}
            where = (step * row + column, row)
            axes.text(*where, character, ha="center", va="center", family="monospace", bbox=box)
    places = step * (len(rows) - 1) + len(rows[0])
    axes.set(xlim=(-1, places), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    axes.set(xlabel="place in the text", ylabel="window")
    axes.set_title("Blue is read, orange is to be predicted")
    show(
        figure,
        f"{len(rows)} rows of {len(rows[0])} characters, each row begun {step} places further "
        f"right than the row above; the last character of each is orange. The first: {rows[0]!r}.",
    )


# 2  A plain RNN


def unrolled(
    text: str, characters: str, probabilities: Any, states: Any, norms: Any = None
) -> None:
    """Draw a recurrent network unrolled over a text, with buttons that show one step at a time.

    The picture needs neither a kernel nor JavaScript. Each button is a radio input, and CSS hides
    the later steps. A viewer that removes the CSS shows all steps.

    Parameters
    ----------
    text
        The T input characters and the target of the last one.
    characters
        The vocabulary, V characters.
    probabilities
        The probabilities of the next character after each step, (T, V).
    states
        The hidden state after each step, (T, H).
    norms
        The norm of the gradient with respect to the state after each step, (T,). None omits the
        backward pass.
    """
    shown, T = visible(text), len(text) - 1
    groups, captions = [], []
    for t in range(T):
        x, best = 92 * t + 60, np.argsort(-np.asarray(probabilities[t]))[:3]
        marks = [_arrow(x, 218, x, 196, "#2a8a2a"), _label(x, 234, shown[t], 15, "#2a8a2a")]
        marks += [_arrow(x - 72, 150, x - 20, 150, "#0a8ea0")] if t else []
        height = 80 / len(states[t])
        for k, value in enumerate(states[t]):
            red, blue = (255, 255 * (1 - abs(value)))[:: 1 if value > 0 else -1]
            colour = f"rgb({red:.0f},{255 * (1 - abs(value)):.0f},{blue:.0f})"
            marks.append(
                f'<rect x="{x - 18}" y="{110 + height * k:.1f}" width="36" height="{height:.1f}" '
                f'fill="{colour}" stroke="#999" stroke-width="0.5"/>'
            )
        marks.append(_arrow(x, 106, x, 76, "#1f5fbf"))
        for row, k in enumerate(best):
            p, colour = probabilities[t][k], "#1f5fbf" if characters[k] == text[t + 1] else "#666"
            y = 24 + 20 * row
            marks.append(
                f'<rect x="{x - 14}" y="{y - 11}" width="{44 * p:.0f}" height="13" '
                f'fill="{colour}" opacity="0.35"/>'
            )
            marks.append(_label(x - 24, y, visible(characters[k])[0], 13, colour))
            marks.append(_label(x + 8, y, f"{p:.2f}", 12, colour))
        groups.append("".join(marks))
        said = ", ".join(f"{visible(characters[k])[0]} {probabilities[t][k]:.2f}" for k in best)
        captions.append(
            f"Forward, step {t + 1}: reads {shown[t]}; "
            f"the most probable next characters: {said}. Next is {shown[t + 1]}."
        )
    if norms is not None:
        for t in reversed(range(T)):
            x, wide = 92 * t + 60, 1 + 4 * min(1.0, norms[t] / max(norms))
            last = t == T - 1
            start, at = ((x, 76, x, 106), (x + 20, 96)) if last else (
                (x + 72, 174, x + 20, 174), (x + 46, 192)
            )  # fmt: skip
            groups.append(
                _arrow(*start, "#d2691e", wide) + _label(*at, f"{norms[t]:.2g}", 12, "#d2691e")
            )
            source = "at the last state" if last else f"sent back by step {t + 2}"
            captions.append(
                f"Backward, step {t + 1}: the gradient {source} has the norm {norms[t]:.2g}."
            )
    alt = f"{T} columns from left to right, a step for each character of {text[:-1]!r}."
    alt += f" {captions[T - 1]} {captions[-1] if norms is not None else ''}".rstrip()
    own = f"u{zlib.crc32(repr((groups, captions)).encode()):x}"
    buttons, rules = [], [f"#{own} p{{display:none}}"]
    for k, caption in enumerate(captions, 1):
        checked = ' checked=""' if k == T else ""
        buttons.append(
            f'<input type="radio" name="{own}" id="{own}-{k}" aria-label="{html.escape(caption)}"'
            f"{checked}/>"
        )
        rules.append(f"#{own}-{k}:checked~svg>g:nth-of-type(n+{k + 1}){{opacity:0.07}}")
        rules.append(f"#{own}-{k}:checked~p:nth-of-type({k}){{display:block}}")
    page = (
        f'<div id="{own}"><style>{"".join(rules)}</style>{"".join(buttons)}<br/>'
        f'<svg viewBox="0 0 {92 * T + 20} 244" width="{92 * T + 20}" role="img" '
        f'aria-label="{html.escape(alt)}" '
        f'style="max-width:100%;background:white" font-family="monospace" text-anchor="middle">'
        + "".join(f"<g>{group}</g>" for group in groups)
        + "</svg>"
        + "".join(f"<p>{html.escape(caption)}</p>" for caption in captions)
        + "</div>"
    )
    from IPython.display import display

    display({"text/html": page, "text/plain": alt}, metadata={}, raw=True)


def _label(x: float, y: float, text: str, size: int, colour: str) -> str:
    """A text in an SVG."""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{html.escape(text)}</text>'


def _arrow(x0: float, y0: float, x1: float, y1: float, colour: str, wide: float = 2) -> str:
    """A horizontal or vertical arrow in an SVG."""
    length = abs(x1 - x0) + abs(y1 - y0)
    dx, dy = 7 * (x1 - x0) / length, 7 * (y1 - y0) / length
    head = f"M{x1 - dx - dy:.0f} {y1 - dy - dx:.0f}L{x1} {y1}L{x1 - dx + dy:.0f} {y1 - dy + dx:.0f}"
    path = f"M{x0} {y0}L{x1} {y1}{head}"
    return f'<path d="{path}" stroke="{colour}" stroke-width="{wide:.1f}" fill="none"/>'


# 3  The LSTM forward

NODES = (  # text, place, and the part that gives the colour
    ("$c_-$", 0.8, 3.2, "f"), ("×", 2.5, 3.2, "f"), ("+", 4.4, 3.2, "c"), ("$c$", 8.3, 3.2, "c"),
    ("×", 4.4, 2.2, "i"), ("tanh", 6.4, 2.6, "h"), ("×", 6.4, 1.9, "h"), ("$h$", 8.3, 1.9, "h"),
    ("σ", 2.5, 1.0, "f"), ("σ", 3.8, 1.0, "i"), ("tanh", 5.0, 1.0, "g"), ("σ", 6.4, 1.0, "o"),
    ("$x,\\ h_-$", 0.8, 0.3, ""),
)  # fmt: skip
ARROWS = (  # from, to, the part that gives the colour, and a label
    (1.05, 3.2, 2.3, 3.2, "f", ""), (2.7, 3.2, 4.2, 3.2, "f", "$f\\,c_-$"),
    (4.6, 3.2, 8.1, 3.2, "c", ""), (4.4, 2.38, 4.4, 3.02, "i", "$i\\,g$"),
    (6.4, 3.2, 6.4, 2.8, "h", ""), (6.4, 2.4, 6.4, 2.06, "h", ""), (6.6, 1.9, 8.1, 1.9, "h", ""),
    (2.5, 1.2, 2.5, 3.02, "f", "$f$"), (3.8, 1.2, 4.28, 2.04, "i", "$i$"),
    (5.0, 1.2, 4.52, 2.04, "g", "$g$"), (6.4, 1.2, 6.4, 1.74, "o", "$o$"),
    (2.5, 0.3, 2.5, 0.82, "f", ""), (3.8, 0.3, 3.8, 0.82, "i", ""),
    (5.0, 0.3, 5.0, 0.82, "g", ""), (6.4, 0.3, 6.4, 0.82, "o", ""),
)  # fmt: skip
PARTS = {
    "i": "input gate i: how much of the candidate is written",
    "f": "forget gate f: how much of the old cell is kept",
    "o": "output gate o: how much of the cell is shown",
    "g": "candidate g: the new content",
    "c": "cell c: the sum of the kept and the new content",
    "h": "hidden state h: the visible part of the cell",
}


def cell() -> None:
    """Draw one step of an LSTM, with a colour for each of its six parts."""
    figure, axes = plt.subplots(figsize=(8, 4.4))
    axes.plot([1.3, 6.4], [0.3, 0.3], color="grey", lw=2)  # x and h₋ reach all gates
    for x0, y0, x1, y1, part, name in ARROWS:
        colour = COLOURS[part]
        style = {"arrowstyle": "->", "color": colour, "lw": 2}
        axes.annotate("", (x1, y1), (x0, y0), arrowprops=style)
        beside = -0.25 if x0 < x1 and y0 < y1 else 0.1  # left of an arrow that leans right
        axes.text((x0 + x1) / 2 + beside, (y0 + y1) / 2 + 0.08, name, color=colour, fontsize=12)
    for name, x, y, part in NODES:
        box = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": COLOURS.get(part, "grey"), "lw": 2}
        axes.text(x, y, name, ha="center", va="center", bbox=box)
    for part, task in PARTS.items():
        axes.plot([], color=COLOURS[part], lw=3, label=task)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncol=2, fontsize=9, frameon=False)
    axes.set(xlim=(0.2, 8.7), ylim=(0, 3.6))
    axes.axis("off")
    show(
        figure,
        "Diagram of one step, with a colour for each part. c₋ runs along the top through a product "
        "with f and a sum with i g and becomes c; tanh of c times o becomes h. "
        "The gates i, f and o and the candidate g are computed from x and h₋.",
    )


def chain(text: str, backward: bool = False) -> None:
    """Draw a recurrent network unrolled over a text, with its steps side by side.

    Parameters
    ----------
    text
        The input characters, one per step, and the target of the last one.
    backward
        Whether to draw the paths of the gradients instead of the forward pass.
    """
    figure, axes = plt.subplots(figsize=(8, 3.2))

    def arrow(x0: float, y0: float, x1: float, y1: float, colour: str, name: str = "") -> None:
        ends = ((x0, y0), (x1, y1)) if backward else ((x1, y1), (x0, y0))
        style = {"arrowstyle": "->", "color": colour, "lw": 2}
        axes.annotate("", *ends, arrowprops=style)
        across = y0 == y1
        where = ((x0 + x1) / 2 + 0.1 * (not across), (y0 + y1) / 2 + 0.04 * across)
        axes.text(
            *where,
            name,
            color=colour,
            ha="center" if across else "left",
            va="bottom" if across else "center",
        )

    d = "d" if backward else ""
    shown = visible(text)
    steps = len(text) - 1
    for t in range(1, steps + 1):
        x = 2.4 * t
        box = {"boxstyle": "square,pad=0.9", "fc": "#eeeeee", "ec": "grey"}
        axes.text(x, 1.5, f"step {t}", ha="center", va="center", bbox=box)
        arrow(x, 0.55, x, 1.12, "tab:green", f"$dz_{{{t}}}$" if backward else f"$x_{{{t}}}$")
        below = "to $dW_x, dW_h, db$" if backward else f"reads {shown[t - 1]}"
        axes.text(x, 0.35, below, ha="center", va="center", color="tab:green")
        arrow(x, 1.88, x, 2.45, "tab:blue", f"${d}h_{{{t}}}$")
        above = f"loss at {shown[t]}" if backward else f"predicts {shown[t]}"
        axes.text(x, 2.62, above, ha="center", va="center", color="tab:blue")
    for t in range(steps + 1):
        x = 2.4 * t
        if backward and t == steps:
            continue  # the last step receives no gradient from a later step
        arrow(x + 0.6, 1.65, x + 1.8, 1.65, COLOURS["c"], f"${d}c_{{{t}}}$")
        arrow(x + 0.6, 1.3, x + 1.8, 1.3, COLOURS["h"], f"${d}h_{{{t}}}$")
    axes.set(xlim=(0.4, 2.4 * steps + 2), ylim=(0.1, 2.9))
    axes.set_title(
        "Backward: from the last step to the first" if backward else "The network, unrolled"
    )
    axes.axis("off")
    what = "Gradients dh and dc go from each step to the one before it" if backward else (
        "h and c go from each step to the next"
    )  # fmt: skip
    show(figure, f"{steps} boxes in a row, one for each character of {text[:-1]!r}. {what}.")


def step_in_bars(i: float, f: float, o: float, g: float, c_: float) -> None:
    """Draw the effect of the gates on one cell in one step, as bars.

    Parameters
    ----------
    i, f, o, g, c_
        The gates, the candidate and the previous cell, one number each.
    """
    c = f * c_ + i * g
    bars = (
        (f"forget gate\nf = {f:.2f}", {"c₋": c_, "f c₋": f * c_}, COLOURS["f"]),
        (f"input gate\ni = {i:.2f}", {"g": g, "i g": i * g}, COLOURS["i"]),
        ("the cell\nis their sum", {"f c₋": f * c_, "i g": i * g, "c": c}, COLOURS["c"]),
        (f"output gate\no = {o:.2f}", {"tanh c": np.tanh(c), "h": o * np.tanh(c)}, COLOURS["o"]),
    )
    figure, every = plt.subplots(1, 4, figsize=(8, 2.6), sharey=True)
    for axes, (title, values, colour) in zip(every, bars):
        axes.bar(list(values), list(values.values()), color=colour)
        axes.axhline(0, color="black", lw=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_ylim(-1.05, 1.05)
    show(
        figure,
        f"Bars. The old cell {c_:.2f} becomes {f * c_:.2f} by the forget gate, the candidate "
        f"{g:.2f} becomes {i * g:.2f} by the input gate; their sum is {c:.2f}, and "
        f"the output gate shows h = {o * np.tanh(c):.2f}.",
    )


def gates_over_text(text: str, values: Mapping[str, Any], title: str, shaded: Any) -> None:
    """Draw the gates and the cell of one unit over a text, in separate rows.

    Parameters
    ----------
    text
        T characters.
    values
        The values to draw, (T,) each, by their names in the equations.
    title
        The title.
    shaded
        The characters with a grey background, (T,) booleans.
    """
    figure, every = plt.subplots(
        len(values), 1, figsize=(8.6, 1.1 * len(values) + 0.6), sharex=True
    )
    for axes, (name, numbers) in zip(every, values.items()):
        axes.axhline(0, color="grey", lw=0.6)
        for place in np.flatnonzero(shaded):
            axes.axvspan(place - 0.5, place + 0.5, color="#e6e6e6")
        axes.plot(numbers, color=COLOURS[name], marker=".", lw=1)
        axes.set_ylabel(name, rotation=0, labelpad=12)
        if name in "ifo":
            axes.set_ylim(-0.05, 1.05)
    every[0].set_title(title)
    every[-1].set_xticks(range(len(text)), visible(text), fontsize=8)
    means = ", ".join(
        f"{name} {numbers[shaded].mean():.2f} on grey, {numbers[~shaded].mean():.2f} elsewhere"
        for name, numbers in values.items()
    )
    show(figure, f"{title}. Curves over the characters of {text!r}. Means: {means}.")


# 4  Backpropagation through time


def tangent(
    loss_and_slope: Callable[[float], tuple[float, float]], weight: float, name: str
) -> None:
    """Draw a loss as a function of one weight, and its tangent.

    Parameters
    ----------
    loss_and_slope
        A function that returns the loss and its gradient for a value of the weight.
    weight
        The value of the weight at the tangent point.
    name
        The name of the weight.
    """
    figure, axes = plt.subplots(figsize=(8, 2.8))
    every = np.linspace(-4, 4, 81)
    losses = [loss_and_slope(value)[0] for value in every]
    axes.plot(every, losses, color="black", label="the loss")
    loss, slope = loss_and_slope(weight)
    near = weight + np.array([-1.2, 1.2])
    axes.plot(near, loss + slope * (near - weight), color="tab:red", label="slope: the gradient")
    axes.plot(weight, loss, "o", color="tab:red")
    room = 0.1 * (max(losses) - min(losses))
    axes.set(xlabel=name, ylabel="L", ylim=(min(losses) - room, max(losses) + room))
    axes.set_title(f"{name} = {weight:.1f}: gradient {slope:+.4f}")
    axes.legend(fontsize=9)
    show(
        figure,
        f"The loss against {name}, a smooth curve; at {weight:.1f} a straight line touches it "
        f"with the slope {slope:+.4f}.",
    )


# 5 to 8  Why LSTM, Training, Randomness and temperature, Inside the cells


@dataclass
class Panel:
    """One pair of axes with named curves and labels.

    Attributes
    ----------
    title
        The title of the axes.
    curves
        By their names in the legend: (x, y) or (x, y, error). Errors are drawn as bars, or as a
        band for 25 or more points. An error of the shape (2, n) has the lower and the upper
        errors. A name that begins with ``_`` is not in the legend.
    xlabel, ylabel
        The labels of the axes.
    log
        The axes with a logarithmic scale: "", "x", "y" or "xy".
    ylim, xlim
        The limits of the axes.
    styles
        Formats of matplotlib for some of the curves, by name, such as "k:" for black dots. The
        other curves are lines, with dots if they have fewer than 25 points.
    levels
        The heights of dotted horizontal lines, by name.
    marks
        The x coordinates of dotted vertical lines.
    ticks
        The ticks of the x axis, as numbers or as a mapping from numbers to labels.
    """

    title: str
    curves: Mapping[str, Sequence[Any]]
    xlabel: str = ""
    ylabel: str = ""
    log: str = ""
    ylim: tuple[float | None, float | None] = (None, None)
    xlim: tuple[float | None, float | None] = (None, None)
    styles: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    marks: Sequence[float] = ()
    ticks: Sequence[Any] | Mapping[Any, str] = ()

    def draw(self, ax: Any) -> None:
        """Draw the panel into matplotlib axes."""
        for name, (x, y, *error) in self.curves.items():
            x, y = np.asarray(x), np.asarray(y)
            how = self.styles.get(name, "o-" if len(x) < 25 else "-")
            if error and len(x) < 25:
                ax.errorbar(x, y, error[0], fmt=how, ms=4, lw=1.2, capsize=3, label=name)
                continue
            (line,) = ax.plot(x, y, how, ms=4, lw=1.2, label=name)
            if error:
                below, above = np.broadcast_to(error[0], (2, len(x)))
                ax.fill_between(x, y - below, y + above, color=line.get_color(), alpha=0.2, lw=0)
        for name, level in self.levels.items():
            ax.axhline(level, ls=":", lw=1, color="black")
            ax.annotate(
                name, (1, level), (-4, 1), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", va="bottom", fontsize=8,
            )  # fmt: skip
        for x in self.marks:
            ax.axvline(x, ls=":", lw=0.8, color="gray")
        ax.set(title=self.title, xlabel=self.xlabel, ylabel=self.ylabel)
        ax.set(xscale="log" if "x" in self.log else "linear")
        ax.set(yscale="log" if "y" in self.log else "linear", ylim=self.ylim, xlim=self.xlim)
        if len(self.ticks):
            names = self.ticks.values() if isinstance(self.ticks, Mapping) else self.ticks
            ax.set_xticks(list(self.ticks), [str(name) for name in names])
            ax.set_xticks([], minor=True)
        if any(not name.startswith("_") for name in self.curves):
            ax.legend(fontsize=8)


def panels(*sides: Panel, alt: str, size: tuple[float, float] = (9, 3.2)) -> None:
    """Draw panels side by side."""
    figure, axes = plt.subplots(1, len(sides), figsize=size, layout="constrained", squeeze=False)
    for panel, ax in zip(sides, axes[0]):
        panel.draw(ax)
    show(figure, alt)


def bars(
    values: Mapping[str, Sequence[float]],
    names: Sequence[str],
    xlabel: str,
    ylabel: str,
    alt: str,
    size: tuple[float, float] = (10, 2.8),
) -> None:
    """Draw distributions side by side with one scale.

    Parameters
    ----------
    values
        The heights of the bars, one for each of `names`, by the title of their panel.
    names
        The labels of the bars.
    """
    figure, axes = plt.subplots(
        1, len(values), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    for ax, (title, heights) in zip(axes[0], values.items()):
        ax.bar(range(len(names)), heights, color="tab:red")
        ax.set_xticks(range(len(names)), names, fontsize=9, family="monospace")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel(xlabel)
    axes[0, 0].set_ylabel(ylabel)
    show(figure, alt)


def coloured(
    rows: Sequence[str],
    values: Mapping[str, Any],
    label: str,
    alt: str,
    *,
    limits: tuple[float, float] = (-1, 1),
    width: float = 0.11,
) -> None:
    """Draw lines of a text on a coloured background: red above zero, blue below.

    Parameters
    ----------
    rows
        The lines. A line feed within a line is drawn as ¶.
    values
        The values of all characters of all lines, by the title of their panel.
    label
        The label of the colour bar.
    alt
        The alternative text.
    limits
        The values of the deepest blue and the deepest red. If the first is not negative, only red
        is used.
    width
        The width of a character in inches.
    """
    across = max(map(len, rows))
    size = max(5.0, width * across + 1.2), len(values) * (0.2 * len(rows) + 0.3) + 0.2
    figure, axes = plt.subplots(len(values), 1, figsize=size, layout="constrained", squeeze=False)
    for ax, (title, numbers) in zip(axes[:, 0], values.items()):
        numbers, grid = np.asarray(numbers), np.full((len(rows), across), np.nan)
        start = 0
        for y, row in enumerate(rows):
            grid[y, : len(row)] = numbers[start : start + len(row)]
            start += len(row)
            for x, character in enumerate(row):
                ax.text(
                    x, y, {"\n": "¶"}.get(character, character).replace("$", r"\$"), ha="center",
                    va="center", family="monospace", fontsize=8,
                )  # fmt: skip
        colours = "bwr" if limits[0] < 0 else "Reds"
        low, high = limits
        image = ax.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto", alpha=0.6)
        ax.set_title(title, loc="left", fontsize=9)
        ax.axis("off")
    bar = figure.colorbar(image, ax=axes[:, 0], fraction=0.03, pad=0.01)
    bar.set_label(label, fontsize=8)
    show(figure, alt)


def broken(text: str, width: int = 84) -> list[str]:
    """Split a text into rows of equal width, for `coloured`."""
    return [text[k : k + width] for k in range(0, len(text), width)]


def valley(
    height: Callable[[Any, Any], Any],
    paths: Mapping[str, Any],
    alt: str,
    title: str = "",
    ends: tuple[float, float, float, float] = (-2.4, 1.2, -1.3, 1.3),
) -> None:
    """Draw the paths of optimizers on the contour lines of a function of two variables.

    Parameters
    ----------
    height
        The function of x and y.
    paths
        The points of each path, (n, 2), by name.
    ends
        The lower and upper limits of x and of y.
    """
    figure, axes = plt.subplots(
        1, len(paths), figsize=(10, 2.9), layout="constrained", squeeze=False, sharey=True
    )
    x, y = np.meshgrid(np.linspace(*ends[:2], 200), np.linspace(*ends[2:], 200))
    for ax, (name, path) in zip(axes[0], paths.items()):
        ax.contour(x, y, height(x, y), levels=np.geomspace(0.01, 40, 12), colors="gray",
                   linewidths=0.6)  # fmt: skip
        ax.plot(*np.transpose(path), "o-", ms=3, lw=1, color="C3")
        ax.plot(0, 0, "k*", ms=9)
        ax.set(title=name, xlim=ends[:2], ylim=ends[2:], xlabel="x")
    axes[0, 0].set_ylabel("y")
    figure.suptitle(title, fontsize=10)
    show(figure, alt)


def over_text(
    text: str, curves: Mapping[str, Any], inside: Mapping[str, Any], ylabel: str, alt: str
) -> None:
    """Draw curves over a text, in separate rows, with the characters on the x axis.

    Parameters
    ----------
    text
        T characters.
    curves
        A value after each character, (T,), by the title of the row.
    inside
        The characters with a yellow background, (T,) booleans, for some of the titles. Ends of
        lines are marked by grey lines.
    """
    size = 0.13 * len(text), 1.4 * len(curves) + 0.4
    figure, axes = plt.subplots(len(curves), 1, figsize=size, sharex=True, layout="constrained")
    for ax, (title, values) in zip(axes, curves.items()):
        for k in np.flatnonzero(inside.get(title, ())):
            ax.axvspan(k - 0.5, k + 0.5, color="gold", alpha=0.4, lw=0)
        for k in (k for k, character in enumerate(text) if character == "\n"):
            ax.axvline(k, color="gray", lw=0.5)
        ax.plot(values, color="tab:red")
        ax.set(ylabel=ylabel, xlim=(-0.5, len(text) - 0.5))
        ax.set_title(title, loc="left", fontsize=10)
    axes[-1].set_xticks(range(len(text)), text.replace("\n", "¶"), family="monospace", fontsize=9)
    axes[-1].tick_params(axis="x", length=0)
    show(figure, alt)

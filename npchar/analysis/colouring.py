"""Colours a text by a number for each symbol, such as its surprise or the value of a unit.

The result is HTML for notebooks, or ANSI escape codes for terminals. The numbers come from
``analysis/scoring.py`` and ``analysis/activations.py``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import SupportsFloat

from npchar.text.vocabulary import visible

RED, BLUE = "220,50,30", "40,100,220"
LEVELS = {1: (224, 217, 210, 203, 196), -1: (189, 153, 117, 75, 33)}  # of a 256-colour terminal


def as_html(
    symbols: Sequence[Hashable], values: Iterable[SupportsFloat], titles: Sequence[str] = ()
) -> str:
    """A text as HTML. Symbols with a value above 0 are red, those with a value below 0 are blue.

    Parameters
    ----------
    symbols
        n characters or tokens.
    values
        n numbers, which are clipped to −1 to 1. Their absolute values are the colour intensity.
    titles
        n tooltips. Default: none.
    """
    import html

    joint = "" if isinstance(symbols, str) else " "
    spans = []
    for k, (symbol, number) in enumerate(zip(symbols, values)):
        value = max(-1.0, min(1.0, float(number)))
        title = f' title="{html.escape(titles[k])}"' if titles else ""
        colour = f"rgba({RED if value > 0 else BLUE},{0.75 * abs(value):.2f})"
        shown = symbol if isinstance(symbol, str) and symbol.isprintable() else visible(symbol)
        end = "\n" if symbol == "\n" else joint
        spans.append(
            f'<span{title} style="background:{colour}">{html.escape(str(shown))}</span>{end}'
        )
    return (
        '<div style="font-family:monospace;white-space:pre-wrap;line-height:1.5">'
        + "".join(spans)
        + "</div>"
    )


def as_ansi(symbols: Sequence[Hashable], values: Iterable[SupportsFloat]) -> str:
    """A text for terminals with 256 colours. Symbols with a value near 0 have no colour."""
    joint = "" if isinstance(symbols, str) else " "
    parts = []
    for symbol, number in zip(symbols, values):
        value = max(-1.0, min(1.0, float(number)))
        level = round(5 * abs(value))
        shown = plain(symbol) + joint
        if level:
            colour = LEVELS[1 if value > 0 else -1][level - 1]
            # The line feed is after the end of the colour, or the terminal would colour the line.
            end = "\n" if symbol == "\n" else ""
            shown = f"\x1b[30;48;5;{colour}m{visible(symbol) if end else shown}\x1b[0m{end}"
        parts.append(shown)
    return "".join(parts)


def plain(symbol: Hashable) -> str:
    """A symbol for a terminal, with visible signs in place of control characters."""
    if symbol in ("\n", "\t"):
        return str(symbol)
    if isinstance(symbol, str):
        return "".join(c if c.isprintable() else visible(c) for c in symbol)
    return str(symbol)

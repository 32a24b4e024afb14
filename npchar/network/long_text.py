"""Reads a long text as a batch of segments, with the results of a single sequence.

A batch of segments is much faster than the same characters in sequence. Each segment needs the
final state of the segment before it. Recurrent networks forget: after a few hundred characters,
the state no longer depends on the initial state. Each segment is therefore read after a warm-up on
the preceding characters. The state after the warm-up is then compared with the final state of the
preceding segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npchar.arrays import Array
from npchar.layers.loss import log_probabilities
from npchar.network.network import Network, States

Write = Callable[[Array, Array], None]  # of positions, (T, B), and outputs, (T, B, H)
Progress = Callable[[float], Any]  # of the fraction that is read

SEGMENTS = 64  # at most
SHORTEST_SEGMENT = 1000  # characters
WARM_UP = 256  # characters, at least
# Two states agree if they differ by less than this, relative to 1 + |state|. It is slightly above
# rounding errors, and keeps log-probabilities in float32 exact to 1e-4.
TOLERANCE = {"float32": 4e-6, "float64": 1e-8}


def read_long_text(
    network: Network,
    ids: Array,
    write: Write | None = None,
    progress: Progress | None = None,
) -> States:
    """Run over one long text.

    If the states at a segment boundary do not agree, the text is read again with longer warm-ups.
    If they still do not agree, the text is read as one sequence.

    Parameters
    ----------
    ids
        The ids of the text, (n,).
    write
        Called with positions in the text, (T, B), and the outputs of the top layer after the
        characters at these positions, (T, B, H). If a position is written more than once, the last
        call is valid.
    progress
        Called from time to time with the fraction of the text that has been read, 0 to 1.

    Returns
    -------
    list of states
        The state of each layer after the text, for one sequence.
    """
    states = network.zero_states(1)
    count = min(SEGMENTS, len(ids) // SHORTEST_SEGMENT)
    if network.receptive_field is not None:  # convolutions need no segments
        count = 1
    start = 0
    length = len(ids) // max(1, count)
    for warm_up in (max(WARM_UP, length // 16), length) if count > 1 else ():
        end = _read_segments(network, ids, count, warm_up, write, progress, states)
        progress = None  # a second reading would report lower fractions again
        if end is not None:
            start, states = count * length, end
            break
    rest = len(ids) - start
    return _read(network, ids, np.array([start]), rest, states, write, progress)


def text_log_probabilities(network: Network, ids: Array, progress: Progress | None = None) -> Array:
    """The log-probability of each character after the first, given all characters before it.

    Parameters
    ----------
    ids
        The ids of a text, (n,), at least two.
    progress
        As for `read_long_text`.

    Returns
    -------
    Array
        (n − 1,) nats, in the dtype of the weights.
    """
    log_p = np.empty(len(ids) - 1, network.parameters.flat.dtype)

    def write(positions: Array, outputs: Array) -> None:
        logits = network.dense.forward(outputs)
        log_p[positions] = log_probabilities(logits, ids[positions + 1])

    read_long_text(network, ids[:-1], write, progress)
    if progress is not None:
        progress(1.0)
    return log_p


def _read_segments(
    network: Network,
    ids: Array,
    count: int,
    warm_up: int,
    write: Write | None,
    progress: Progress | None,
    states: States,
) -> States | None:
    """Run over equal segments of a text; return the final states, or None if states disagree."""
    length = len(ids) // count
    starts = length * np.arange(count)
    warm = _read(network, ids, starts[1:] - warm_up, warm_up, network.zero_states(count - 1))
    begin = [type(w)(*map(np.concatenate, zip(s, w))) for s, w in zip(states, warm)]
    end = _read(network, ids, starts, length, begin, write, progress)
    tolerance = TOLERANCE[str(network.parameters.flat.dtype)]
    for e, b in zip(end, begin):
        for ends, begins in zip(e, b):
            if not np.allclose(ends[:-1], begins[1:], tolerance, tolerance):
                return None
    return [type(e)(*(array[-1:] for array in e)) for e in end]


def _read(
    network: Network,
    ids: Array,
    starts: Array,
    length: int,
    states: States,
    write: Write | None = None,
    progress: Progress | None = None,
) -> States:
    """Run over `length` characters from each position in `starts`, (B,); return final states."""
    segments = np.lib.stride_tricks.sliding_window_view(ids, length)[starts].T  # (T, B)
    for first, outputs, tapes in network.read(segments, states):
        states = [tape.final_state for tape in tapes]
        if write is not None:
            write(starts + np.arange(first, first + len(outputs))[:, None], outputs)
        if progress is not None:
            progress(first / length)
    return states

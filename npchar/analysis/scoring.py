"""The scores of a text: its loss, and the surprise at each character.

``model.py`` makes these from the log-probabilities of ``network/network.py``;
``analysis/colouring.py`` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npchar.analysis.colouring import as_ansi, as_html
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.layers.loss import log_probabilities
from npchar.network.long_text import text_log_probabilities
from npchar.network.network import Network
from npchar.text.documents import Ids, stack
from npchar.text.vocabulary import Text

__all__ = ["Evaluation", "Score"]

SHOWN = 5000  # symbols that a notebook shows of a text
BLOCK = 1 << 22  # characters whose log-probabilities are in memory at the same time
MOST_BITS = 8  # a surprise of this many bits has the strongest colour


class Evaluation(NamedTuple):
    """How well a model predicts a text.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("ab"), hidden_size=4)
    >>> found = model.evaluate("abba")
    >>> found.characters, round(found.bits_per_character / found.loss, 4)  # 1 / log 2
    (3, 1.4427)
    """

    loss: float
    """Nats per character."""
    bits_per_character: float
    """The same in bits."""
    characters: int
    """How many were predicted."""
    baselines: dict[str, float]
    """The losses of n-gram models, nats per character: see `Model.evaluate`."""


class Surprise(NamedTuple):
    """A character, and how surprising it was to the model."""

    bits: float  # −log₂ of its probability
    position: int  # in the text, from 0
    character: Any  # or token
    before: Text  # the 20 characters or 5 tokens before it


@dataclass(frozen=True, repr=False, eq=False)
class Score:
    """How probable a model finds a text, character by character.

    Printed, it tells the mean and the most surprising characters; in a notebook it is
    the text, the redder the more surprising.

    Examples
    --------
    >>> score = npchar.Model.pretrained("nietzsche").score("the will to power")
    >>> score.log_probabilities.shape
    (16,)
    >>> score
    Score(1.180 bits per character, 0.818 nats, over 16)
    """

    text: Text
    """The text, n characters or tokens."""
    log_probabilities: Array
    """Of each character after the first, (n − 1,), nats."""

    @property
    def loss(self) -> float:
        """The mean, negated: nats per character.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to power")
        >>> round(score.loss, 2)
        0.82
        """
        return -float(self.log_probabilities.mean(dtype=np.float64))

    @property
    def bits_per_character(self) -> float:
        """The same in bits.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to power")
        >>> round(score.bits_per_character, 2)
        1.18
        """
        return self.loss / math.log(2)

    @property
    def bits(self) -> Array:
        """The surprise at each character after the first, (n − 1,): −log₂ p.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to power")
        >>> score.bits.shape, bool((score.bits >= 0).all())
        ((16,), True)
        """
        return self.log_probabilities / -math.log(2)

    def most_surprising(self, n: int = 10) -> list[Surprise]:
        """The n characters with the lowest probabilities, the lowest first.

        Parameters
        ----------
        n
            How many, at most.

        Returns
        -------
        list of Surprise
            Each with its `bits`, `position`, `character`, and the text `before` it.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will xo power")
        >>> score.most_surprising(1)[0].character
        'x'
        """
        require_positive(n=n)
        n = min(n, len(self.log_probabilities))
        width = 20 if isinstance(self.text, str) else 5
        least = np.argpartition(self.log_probabilities, n - 1)[:n]
        least = least[np.argsort(self.log_probabilities[least], kind="stable")]
        return [
            Surprise(
                -float(self.log_probabilities[k]) / math.log(2),
                int(k) + 1,
                self.text[int(k) + 1],
                self.text[max(0, int(k) + 1 - width) : int(k) + 1],
            )
            for k in least
        ]

    def ansi(self) -> str:
        """The text with the colours of a terminal, the redder the more surprising.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to qower")
        >>> len(score.ansi()) > 17  # with the codes of the colours; print shows them
        True
        """
        return as_ansi(self.text, self._shades(len(self.text)))

    def _shades(self, n: int) -> Sequence[float]:
        bits: Sequence[float] = (self.bits[: n - 1] / MOST_BITS).tolist()
        return [0.0, *bits]

    def __str__(self) -> str:
        lines = [
            f"{self.bits_per_character:.3f} bits per character ({self.loss:.3f} nats) over "
            f"{len(self.log_probabilities):,}",
            "most surprising:",
        ]
        for bits, position, character, before in self.most_surprising():
            lines.append(f"{bits:7.1f} bits  {character!r} at {position:,} after {before!r}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Score({self.bits_per_character:.3f} bits per character, {self.loss:.3f} nats, "
            f"over {len(self.log_probabilities):,})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the text coloured, bits when pointed at."""
        text = self.text[:SHOWN]
        titles = ["", *(f"{bits:.1f} bits" for bits in self.bits[: SHOWN - 1])]
        more = len(self.text) - len(text)
        rest = f"<div>and {more:,} more</div>" if more else ""
        summary = f"{self.bits_per_character:.3f} bits per character over {len(self.bits):,}"
        return as_html(text, self._shades(len(text)), titles) + rest + f"<div>{summary}</div>"


def log_probabilities_of(
    network: Network, text: Ids, progress: Callable[[float], object] | None = None
) -> Array:
    """The log-probability of each symbol of a text, or of documents, after the first.

    Each document is read from the zero state, beside others of about its length; its end is
    a symbol like others. `progress` is called with the share that is read, 0 to 1.

    Returns
    -------
    Array
        (n − 1,) nats.
    """
    ids, ends = text
    if ends is None:
        return text_log_probabilities(network, ids, progress)[0]
    log_p = np.empty(len(ids) - 1, network.parameters.flat.dtype)
    lengths = np.diff(ends)
    left = np.argsort(lengths, kind="stable")
    while len(left):
        group = left[: max(16, min(1024, 4096 // int(lengths[left[0]])))]
        left = left[len(group) :]
        batch = stack(ids, ends[group], lengths[group])  # (T + 1, B)
        for start, outputs, _ in network.read(np.maximum(batch[:-1], 0)):
            targets = batch[start + 1 : start + 1 + len(outputs)]
            found = log_probabilities(network.dense.forward(outputs), np.maximum(targets, 0))
            t, b = np.nonzero(targets >= 0)
            log_p[ends[group][b] + start + t] = found[t, b]
        if progress is not None:
            progress(1 - lengths[left].sum() / lengths.sum())
    return log_p


def mean_loss(
    network: Network, text: Ids, progress: Callable[[float], object] | None = None
) -> float:
    """The mean loss of a text or of documents, in nats per symbol, in bounded memory.

    `progress` is called with the fraction that is read, 0 to 1.
    """
    n = len(text.ids) - 1
    if text.ends is not None:
        return -float(log_probabilities_of(network, text, progress).mean(dtype=np.float64))
    total, states = 0.0, None
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)

        def show(share: float, start: int = start, size: int = size) -> None:
            if progress is not None:
                progress((start + share * size) / n)

        log_p, states = text_log_probabilities(
            network, text.ids[start : start + size + 1], show, states
        )
        total -= float(log_p.sum(dtype=np.float64))
    return total / n

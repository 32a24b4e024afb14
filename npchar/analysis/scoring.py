"""The scores of a text: its loss, and the surprise of each character.

`npchar.Model.score` and `npchar.Model.evaluate` use this module. ``analysis/colouring.py`` colours
a text by surprise.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from npchar.analysis.colouring import as_ansi, as_html
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.layers.loss import log_probabilities
from npchar.network.long_text import Progress, text_log_probabilities
from npchar.network.network import Network
from npchar.text.documents import Ids, read_text, stack
from npchar.text.vocabulary import END, Text, Vocabulary

__all__ = ["Evaluation", "Score"]

SHOWN = 5000  # symbols of a text that a notebook shows
MOST_BITS = 8  # the surprise with the strongest colour


class Evaluation(NamedTuple):
    """The loss of a model on a text, with baselines.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("ab"), hidden_size=4)
    >>> result = model.evaluate("abba")
    >>> result.characters, round(result.bits_per_character / result.loss, 4)  # 1 / log 2
    (3, 1.4427)
    """

    loss: float
    """Nats per character."""
    bits_per_character: float
    """Bits per character."""
    characters: int
    """The number of predicted characters."""
    baselines: dict[str, float]
    """The losses of n-gram models, nats per character: see `Model.evaluate`."""


class Surprise(NamedTuple):
    """A character and its surprise."""

    bits: float  # −log₂ of its probability
    position: int  # in the text, from 0
    character: Hashable  # or token
    before: Text  # the 20 characters or 5 tokens before it


@dataclass(frozen=True, repr=False, eq=False)
class Score:
    """The log-probabilities of the characters of a text.

    `print` shows the mean and the most surprising characters. A notebook shows the text, with
    surprising characters in red.

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
    """The log-probability of each character after the first, (n − 1,), nats."""

    @property
    def loss(self) -> float:
        """The mean loss, nats per character.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to power")
        >>> round(score.loss, 2)
        0.82
        """
        return -float(self.log_probabilities.mean(dtype=np.float64))

    @property
    def bits_per_character(self) -> float:
        """The mean loss, bits per character.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to power")
        >>> round(score.bits_per_character, 2)
        1.18
        """
        return self.loss / math.log(2)

    @property
    def bits(self) -> Array:
        """The surprise of each character after the first, −log₂ p, (n − 1,).

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
            The maximum number of characters.

        Returns
        -------
        list of Surprise
            Each has its `bits`, `position`, `character`, and the text `before` it.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will xo power")
        >>> score.most_surprising(1)[0].character
        'x'
        """
        require_positive(n=n)
        width = 20 if isinstance(self.text, str) else 5
        bits = self.bits
        positions = (1 + np.argsort(-bits, kind="stable")[:n]).tolist()
        return [
            Surprise(float(bits[k - 1]), k, self.text[k], self.text[max(0, k - width) : k])
            for k in positions
        ]

    def ansi(self) -> str:
        """The text for a terminal, with surprising characters in red.

        Examples
        --------
        >>> score = npchar.Model.pretrained("nietzsche").score("the will to qower")
        >>> len(score.ansi()) > 17  # with the escape codes of the colours
        True
        """
        return as_ansi(self.text, [0, *(self.bits / MOST_BITS).tolist()])

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
        """The start of the text for notebooks, coloured by surprise, with bits as tooltips."""
        bits = [0.0, *self.bits[: SHOWN - 1].tolist()]
        titles = ["", *(f"{number:.1f} bits" for number in bits[1:])]
        coloured = as_html(self.text[:SHOWN], [number / MOST_BITS for number in bits], titles)
        rest = len(self.text) - SHOWN
        more = f"<div>and {rest:,} more</div>" if rest > 0 else ""
        summary = f"{self.bits_per_character:.3f} bits per character over {len(self.bits):,}"
        return f"{coloured}{more}<div>{summary}</div>"


def log_probabilities_of(network: Network, text: Ids, progress: Progress | None = None) -> Array:
    """The log-probability of each symbol of a text or of documents after the first, in nats.

    Each document is read from the zero state, in a batch of documents of similar length. Its end is
    predicted like any other symbol. `progress` is called with the completed fraction, 0 to 1.

    Returns
    -------
    Array
        (n − 1,) nats.
    """
    ids, ends = text
    if ends is None:
        return text_log_probabilities(network, ids, progress)
    log_p = np.empty(len(ids) - 1, network.parameters.flat.dtype)
    lengths = np.diff(ends)
    rest = np.argsort(lengths, kind="stable")
    while len(rest):
        group = rest[: max(16, min(1024, 4096 // int(lengths[rest[0]])))]
        rest = rest[len(group) :]
        batch = stack(ids, ends[group], lengths[group])  # (T + 1, B)
        for start, outputs, _ in network.read(np.maximum(batch[:-1], 0)):
            targets = batch[start + 1 : start + 1 + len(outputs)]
            logits = network.dense.forward(outputs)
            t, b = np.nonzero(targets >= 0)
            log_p[ends[group][b] + start + t] = log_probabilities(logits[t, b], targets[t, b])
        if progress is not None:
            progress(1 - lengths[rest].sum() / lengths.sum())
    return log_p


def mean_loss(network: Network, text: Ids, progress: Progress | None = None) -> float:
    """The mean loss of a text or of documents, in nats per symbol.

    `progress` is called with the completed fraction, 0 to 1.
    """
    return -float(log_probabilities_of(network, text, progress).mean(dtype=np.float64))


def score(
    network: Network, vocabulary: Vocabulary, text: Text, progress: Progress | None = None
) -> Score | list[Score]:
    """The score of a text, or of each document in a list: see `Model.score`."""
    text, ids = read_text(text, vocabulary, at_least=2)
    log_p = log_probabilities_of(network, ids, progress)
    if ids.ends is None:
        return Score(text, log_p)
    end = vocabulary.join([END])
    ranges = zip(text, ids.ends, ids.ends[1:])
    return [Score(end + document + end, log_p[first:last]) for document, first, last in ranges]

"""The steps of a training: of each batch the gradient, its norm clipped, an optimizer's step.

``training/loop.py`` says with which batches and rates. Here one process computes a step, all of
it or its share: a worker process (``training/worker.py``) and an MPI rank (``training/mpi.py``)
do what is here with their sequences of each batch, and add up their gradients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from npchar.arrays import Array
from npchar.layers.network import Network
from npchar.layers.parameters import Parameters
from npchar.training.optimizers import Optimizer, clip_by_global_norm
from npchar.training.settings import Settings

Outcome = tuple[float, float]
"""A step's loss, the mean over its batch, and the norm of its gradient before it was clipped."""


def count_of(targets: Array) -> int:
    """How many of them are targets: one below 0 is none."""
    return targets.size if targets.dtype.kind == "u" else int((targets >= 0).sum())


class Share:
    """One process's share of the gradient of a batch; by default all of it.

    Parameters
    ----------
    network
        The network; its weights at the time of each call are used.
    rank, count
        Which of how many shares of about B / count sequences.
    """

    def __init__(self, network: Network, rank: int = 0, count: int = 1) -> None:
        self.network, self.rank, self.count = network, rank, count
        self._tapes: dict[tuple[int, ...], list[Any]] = {}  # by (T, B), of two such
        self._thinned = network  # with recurrent dropout one of its own, whose weights are masked
        if network.sizes.recurrent_dropout:
            self._thinned = Network(network.sizes, network.parameters.zeros_like())

    def bounds(self, B: int) -> tuple[int, int]:
        """The first of this share's sequences in a batch of B, and the one after its last."""
        return B * self.rank // self.count, B * (self.rank + 1) // self.count

    def gradient(self, batch: Array, targets: str, seed: int, out: Parameters) -> float:
        """Write the share's part of the gradient of the batch's mean loss to `out`.

        Returns its part of that loss: the sum of all shares' parts is the whole.

        Parameters
        ----------
        batch
            Ids of the whole batch's windows, (T + 1, B).
        targets
            "all" or "last".
        seed
            For the dropout masks, which do not depend on how the batch is shared out.
        out
            Room for the gradient.
        """
        B = batch.shape[1]
        first, last = self.bounds(B)
        if first == last:  # a small last batch may leave a process without a sequence
            out.flat[...] = 0
            return 0.0
        y = batch[1:] if targets == "all" else batch[-1]
        count = count_of(y)
        x, y = batch[:-1, first:last], y[..., first:last]
        if x.dtype.kind == "i":
            x = np.maximum(x, 0)  # after the end of a shorter piece there is nothing: any will do
            if y.max() < 0:
                out.flat[...] = 0
                return 0.0
        if x.shape not in self._tapes:
            if len(self._tapes) > 1:  # other than an epoch's last batch beside the rest
                self._tapes.clear()
            self._tapes[x.shape] = self.network.tapes(*x.shape)
        masks = [mask[:, first:last] for mask in self.network.dropout_masks(B, seed)]
        of_weights = self.network.weights_mask(seed)
        if of_weights is not None:
            thinned = self._thinned.parameters.flat
            np.multiply(self.network.parameters.flat, of_weights, out=thinned)
        found = self._thinned.gradients(
            x, y, tapes=self._tapes[x.shape], masks=masks, gradient=out, count=count
        )
        if of_weights is not None:
            out.flat *= of_weights
        return float(found.loss)


class Source(ABC):
    """What makes the steps of a training: this process, workers, or the ranks of an MPI job.

    Use it as a context manager: leaving it ends what was begun for it.

    Parameters
    ----------
    network, optimizer
        What is trained, and by what: both are changed in place.
    count
        How many processes make a step together.
    """

    leads = True
    """Whether it is this process that prints, validates and calls back."""
    at_once = 1
    """How many steps to ask for at a time, at most."""
    whole = True
    """False from when a step begins to change what is trained until who asked for it says that
    the step is done, by setting this to True."""

    def __init__(self, network: Network, optimizer: Optimizer, count: int = 1) -> None:
        self.network, self.optimizer, self.count = network, optimizer, count

    def __enter__(self) -> Source:
        return self

    def __exit__(  # noqa: B027
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what was begun for it: nothing here."""

    @abstractmethod
    def steps(
        self, batches: Sequence[Array], seeds: Sequence[int], rates: Sequence[float]
    ) -> list[Outcome]:
        """Make a step with each of some batches, the learning rate and the dropout's seed of each.

        A step whose loss or gradient is not a finite number leaves the weights as they are. After
        an error weights and optimizer are as they were before these steps, if `whole` is True.
        """

    def broadcast(self, value: float) -> float:
        """What the process that leads found: this one."""
        return value


class Steps(Source):
    """The steps of a training, made by this process alone.

    Parameters
    ----------
    network, optimizer
        What is trained, and by what.
    settings
        Of the training.
    rank, count
        Which of how many processes this is, where `add_up` knows of others.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        settings: Settings,
        rank: int = 0,
        count: int = 1,
    ) -> None:
        super().__init__(network, optimizer, count)
        self.targets, self.limit = settings.targets, settings.clip_norm or math.inf
        self.share = Share(network, rank, count)
        self.gradient = self.room()

    def room(self) -> Parameters:
        """Room for the gradient."""
        return self.network.parameters.zeros_like()

    def steps(
        self, batches: Sequence[Array], seeds: Sequence[int], rates: Sequence[float]
    ) -> list[Outcome]:
        """See `Source`."""
        return [self.step(*one) for one in zip(batches, seeds, rates, strict=True)]

    def step(self, batch: Array, seed: int, rate: float) -> Outcome:
        """Make a step with a batch of ids, (T + 1, B)."""
        loss = self.add_up(self.share.gradient(batch, self.targets, seed, self.gradient))
        self.whole = False
        norm = clip_by_global_norm(self.gradient.flat, self.limit)
        if math.isfinite(loss + norm):
            self.optimizer.update(self.network.parameters.flat, self.gradient.flat, rate)
        return loss, norm

    def add_up(self, loss: float) -> float:
        """Add to the gradient those of other processes, if there are any; return all their loss."""
        return loss

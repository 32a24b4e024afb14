"""One training step: gradient, clip, update.

Each rank computes the gradient for its share of the sequences of a batch. Rank 0, which
``training/trainer.py`` calls, adds the gradients of all ranks and changes the weights.
"""

from __future__ import annotations

import contextlib
import functools
import math
import pickle
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from npchar.arrays import aligned_empty
from npchar.layers.parameters import Parameters
from npchar.network.network import Network, NetworkConfig
from npchar.threads import one_blas_thread
from npchar.training.config import TrainingConfig
from npchar.training.distributed import (
    Batch,
    Communicator,
    End,
    MPICommunicator,
    Shared,
    Worker,
    WorkerError,
)
from npchar.training.optimizers import Optimizer, clip_by_global_norm

LARGE_PRODUCT = 1 << 24  # multiplications, from which BLAS threads save time in one process
LARGEST = (1 << 25) - (1 << 20)  # bytes, up to which glibc adapts to memory that is freed


class StepResult(NamedTuple):
    """The mean loss over a batch, the norm of its gradient before clipping, and its targets."""

    loss: float
    norm: float
    targets: int


class BatchGradient:
    """Computes gradients for one rank's share of a batch.

    Parameters
    ----------
    network
        The network.
    targets
        "all" or "last": see `Model.fit`.
    """

    def __init__(self, network: Network, targets: str) -> None:
        self.network, self.targets = network, targets
        weights = network.parameters
        self.sums = aligned_empty(weights.flat.size + 1, weights.flat.dtype)
        """The gradient, and the loss."""
        self._gradient = Network(network.config, Parameters(weights.shapes, flat=self.sums[:-1]))
        self._tapes = functools.lru_cache(maxsize=2)(network.tapes)  # for two shapes of x
        self._masked = network  # with recurrent dropout a copy, whose weights are masked
        if network.config.recurrent_dropout:
            self._masked = Network(network.config, weights.zeros_like())
        # When a large array is freed, glibc starts to keep freed memory for the next step instead
        # of returning it to the system, which takes 3 to 9 % of a step.
        np.empty(LARGEST, np.uint8)

    def compute(self, batch: Batch, rank: int, size: int) -> int:
        """Write the share of a rank of the mean loss and its gradient to `sums`.

        Returns the number of targets of the whole batch.
        """
        ids, B = batch.ids, batch.ids.shape[1]
        first, last = B * rank // size, B * (rank + 1) // size
        y = ids[1:] if self.targets == "all" else ids[-1]
        count = int((y >= 0).sum())
        x, y = np.maximum(ids[:-1, first:last], 0), y[..., first:last]
        if not (y >= 0).any():  # no target for this rank
            self.sums[...] = 0
            return count
        masks = [mask[:, first:last] for mask in self.network.dropout_masks(B, batch.seed)]
        weights_mask = self.network.weights_mask(batch.seed)
        if weights_mask is not None:
            weights = self.network.parameters.flat
            np.multiply(weights, weights_mask, out=self._masked.parameters.flat)
        result = self._masked.gradients(
            x, y, tapes=self._tapes(*x.shape), masks=masks, gradient=self._gradient, count=count
        )
        if weights_mask is not None:
            self.sums[:-1] *= weights_mask
        self.sums[-1] = result.loss
        return count


@dataclass(eq=False)
class TrainingStep:
    """A step of the optimizer, whose gradient all ranks compute together.

    Only rank 0 has a `TrainingStep`. The other ranks call `follow`.
    """

    network: Network
    """Changed in place, as is the optimizer."""
    optimizer: Optimizer
    config: TrainingConfig
    communicator: Communicator
    """Connects the ranks."""
    count: int = 0
    """The number of steps that may have changed the weights."""

    def __post_init__(self) -> None:
        self._gradient = BatchGradient(self.network, self.config.targets)
        self.optimizer.shapes = self.network.parameters.shapes

    def __call__(self, batch: Batch, learning_rate: float) -> StepResult:
        """Change the weights by one batch.

        The weights do not change if the loss or its gradient is not finite.
        """
        targets = self._compute_gradient(batch)
        gradient, loss = self._gradient.sums[:-1], float(self._gradient.sums[-1])
        norm = clip_by_global_norm(gradient, self.config.clip_norm or math.inf)
        self.count += 1
        if math.isfinite(loss + norm):
            self.optimizer.update(self.network.parameters.flat, gradient, learning_rate)
        return StepResult(loss, norm, targets)

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """One thread of the BLAS for each of several ranks, and for small products."""
        size = self.config.batch_size * self.network.config.hidden_size**2
        if self.communicator.size > 1 or size < LARGE_PRODUCT:
            return one_blas_thread()
        return contextlib.nullcontext()

    def _compute_gradient(self, batch: Batch) -> int:
        """Compute the gradient of a batch together with all ranks; return its targets."""
        communicator = self.communicator
        if communicator.size > 1:
            try:
                communicator.send(batch, self.network.parameters.flat)
                try:
                    return self._gradient.compute(batch, 0, communicator.size)
                finally:  # also after an error: the other ranks take part in it
                    communicator.reduce(self._gradient.sums)
            except WorkerError as error:
                warnings.warn(f"{error}; this process continues without workers", stacklevel=3)
                communicator.close()
                self.communicator = Communicator()
        return self._gradient.compute(batch, 0, 1)


def follow(communicator: Worker | MPICommunicator, network: Network, targets: str) -> End:
    """Compute the gradients of a rank above 0 in all steps, until rank 0 ends.

    Parameters
    ----------
    communicator
        Connects the ranks.
    network
        A network. It receives the weights of rank 0 in each step.
    targets
        As for `BatchGradient`.
    """
    gradient = BatchGradient(network, targets)
    with one_blas_thread():
        while True:
            message = communicator.receive(network.parameters.flat)
            if isinstance(message, End):
                return message
            gradient.compute(message, communicator.rank, communicator.size)
            communicator.reduce(gradient.sums)


def run_worker(
    rank: int, leader: int, shared: Shared, network_config: NetworkConfig, targets: str
) -> None:
    """The main function of a worker process: see `Worker` and `follow`."""
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):  # rank 0 has ended
        follow(Worker(rank, leader, shared), Network(network_config, dtype=shared[-1]), targets)

"""One training step: gradient, all-reduce, clip, update. It is the same on every rank.

Each rank computes the gradient for its share of the sequences of a batch. Then all ranks make the
same update, each of its own copy of the weights. Rank 0 leads: ``training/trainer.py`` calls it
there, and the other ranks follow its messages.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npchar.arrays import Array, aligned_empty
from npchar.layers.parameters import Parameters
from npchar.network.network import Network
from npchar.threads import one_blas_thread
from npchar.training.config import TrainingConfig
from npchar.training.distributed import Communicator, WorkerError, join
from npchar.training.history import History
from npchar.training.optimizers import Optimizer, clip_by_global_norm

LARGE_PRODUCT = 1 << 24  # multiplications, from which threads of the BLAS pay in one process
LARGEST = (1 << 25) - (1 << 20)  # bytes, up to which glibc adapts to memory that is freed


class StepResult(NamedTuple):
    """The mean loss over a batch, the norm of its gradient before clipping, and its targets."""

    loss: float
    norm: float
    targets: int


class Start(NamedTuple):
    """All that the other ranks need to make the steps of rank 0."""

    network: Network
    optimizer: Optimizer  # with its state
    config: TrainingConfig


class Batch(NamedTuple):
    """A step to make."""

    ids: Array  # (T + 1, B)
    seed: int
    learning_rate: float


class End(NamedTuple):
    """The end of the training, with all that it has changed in rank 0."""

    history: History
    network: Network
    optimizer: Optimizer | str
    error: BaseException | None


@dataclass(eq=False)
class TrainingStep:
    """A step of the optimizer, whose gradient all ranks compute together."""

    network: Network
    """Changed in place, as is the optimizer."""
    optimizer: Optimizer
    config: TrainingConfig
    communicator: Communicator
    """Connects the ranks."""
    count: int = 0
    """The number of steps that may have changed the weights."""

    def __post_init__(self) -> None:
        network = self.network
        weights = network.parameters
        self._sums = aligned_empty(weights.flat.size + 1, weights.flat.dtype)  # and of the loss
        self._gradient = Network(network.sizes, Parameters(weights.shapes, flat=self._sums[:-1]))
        self._tapes: dict[tuple[int, ...], list[Any]] = {}  # for the last two shapes of x
        self._masked = network  # with recurrent dropout a copy, whose weights are masked
        if network.sizes.recurrent_dropout:
            self._masked = Network(network.sizes, weights.zeros_like())
        # When a large array is freed, glibc starts to keep freed memory for the next step instead
        # of returning it to the system, which takes 3 to 9 % of a step.
        np.empty(LARGEST, np.uint8)

    def __call__(self, ids: Array, seed: int, learning_rate: float) -> StepResult:
        """Change the weights by one batch.

        A step whose loss or gradient is not finite leaves them as they are.

        Parameters
        ----------
        ids
            (T + 1, B), with -1 as padding.
        seed
            For dropout.
        learning_rate
            The learning rate.
        """
        batch = Batch(ids, seed, learning_rate)
        if self.communicator.size > 1:
            try:
                self.communicator.broadcast(batch)
                return self.update(batch)
            except WorkerError as error:  # before the update
                self._continue_alone(error)
            except BaseException:
                self.communicator.abort()
                raise
        return self.update(batch)

    def share_weights(self) -> None:
        """Give all ranks the weights and the optimizer's state of this one."""
        if self.communicator.size > 1:
            try:
                self.communicator.broadcast(Start(self.network, self.optimizer, self.config))
            except WorkerError as error:
                self._continue_alone(error)

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """One thread of the BLAS for each of several ranks, and for small products."""
        size = self.config.batch_size * self.network.sizes.hidden_size**2
        if self.communicator.size > 1 or size < LARGE_PRODUCT:
            return one_blas_thread()
        return contextlib.nullcontext()

    def _continue_alone(self, error: WorkerError) -> None:
        warnings.warn(f"{error}: this process continues alone", stacklevel=3)
        self.communicator.close()
        self.communicator = Communicator()

    def update(self, batch: Batch) -> StepResult:
        """Change the weights of this rank by one batch, together with all other ranks."""
        y = batch.ids[1:] if self.config.targets == "all" else batch.ids[-1]
        targets = int((y >= 0).sum())
        self._sums[-1] = self._share_of_gradient(batch, y, targets)
        if self.communicator.size > 1:
            self.communicator.all_reduce(self._sums)
        gradient, loss = self._sums[:-1], float(self._sums[-1])
        norm = clip_by_global_norm(gradient, self.config.clip_norm or math.inf)
        self.count += 1
        if math.isfinite(loss + norm):
            self.optimizer.update(self.network.parameters.flat, gradient, batch.learning_rate)
        return StepResult(loss, norm, targets)

    def _share_of_gradient(self, batch: Batch, y: Array, targets: int) -> float:
        """Write the gradient for this rank's sequences; return their part of the mean loss."""
        B, gradient = batch.ids.shape[1], self._gradient.parameters.flat
        rank, size = self.communicator.rank, self.communicator.size
        first, last = B * rank // size, B * (rank + 1) // size
        x, y = np.maximum(batch.ids[:-1, first:last], 0), y[..., first:last]
        if not y.size or y.max() < 0:  # no target for this rank
            gradient[...] = 0
            return 0.0
        if x.shape not in self._tapes:
            if len(self._tapes) > 1:
                self._tapes.clear()
            self._tapes[x.shape] = self.network.tapes(*x.shape)
        masks = [mask[:, first:last] for mask in self.network.dropout_masks(B, batch.seed)]
        weights_mask = self.network.weights_mask(batch.seed)
        if weights_mask is not None:
            weights = self.network.parameters.flat
            np.multiply(weights, weights_mask, out=self._masked.parameters.flat)
        result = self._masked.gradients(
            x, y, tapes=self._tapes[x.shape], masks=masks, gradient=self._gradient, count=targets
        )
        if weights_mask is not None:
            gradient *= weights_mask
        return float(result.loss)


def follow(communicator: Communicator) -> End:
    """Make all steps of rank 0 in another rank, until rank 0 ends."""
    step = None
    try:
        with one_blas_thread():
            while True:
                message: Start | Batch | End = communicator.broadcast(None)
                if isinstance(message, End):
                    return message
                if isinstance(message, Start):
                    step = TrainingStep(*message, communicator)
                elif step is not None:
                    step.update(message)
    except BaseException:
        communicator.abort()
        raise


def run_worker(*arguments: Any) -> None:
    """The main function of a worker process, with the arguments of `join`."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError, WorkerError):  # rank 0 has ended
        follow(join(*arguments))

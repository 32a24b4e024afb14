"""One training step: gradient, all-reduce, clip, update. It is the same on every rank.

Each rank computes the gradient for its share of the sequences of a batch. Then all ranks make the
same update, each of its own copy of the weights. Rank 0 leads: ``training/trainer.py`` calls it
there, and the other ranks follow its messages.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.layers.parameters import Parameters
from npchar.network.network import Network, NetworkConfig
from npchar.threads import one_blas_thread, one_thread
from npchar.training.config import TrainingConfig
from npchar.training.distributed import Communicator, Worker, WorkerError
from npchar.training.history import History
from npchar.training.optimizers import Optimizer, clip_by_global_norm

LARGE_PRODUCT = 1 << 24  # multiplications, from which threads of the BLAS pay in one process
LARGEST = (1 << 25) - (1 << 20)  # bytes, up to which glibc adapts to memory that is freed


class StepResult(NamedTuple):
    """The mean loss over a batch, and the norm of its gradient before clipping."""

    loss: float
    norm: float


class Weights(NamedTuple):
    """The weights, and all else that the other ranks need to make the steps of rank 0."""

    sizes: NetworkConfig
    weights: Array
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
    weights: Array
    state: Array | None
    epochs_trained: int
    error: BaseException | None = None


class TrainingStep:
    """A step of the optimizer, whose gradient all ranks compute together.

    Parameters
    ----------
    network, optimizer
        The network and the optimizer. Both are changed in place.
    config
        The configuration of the training.
    communicator
        Connects the ranks. Default: a single process.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        config: TrainingConfig,
        communicator: Communicator | None = None,
    ) -> None:
        self.network, self.optimizer, self.config = network, optimizer, config
        self.communicator = Communicator() if communicator is None else communicator
        self.count = 0
        """The number of steps that may have changed the weights."""
        weights = network.parameters
        self._buffer = self.communicator.buffer(weights.flat.size + 1, weights.flat.dtype)
        parameters = Parameters(weights.shapes, flat=self._buffer[:-1])
        self._gradient = Network(network.config, parameters)
        self._tapes: dict[tuple[int, ...], list[Any]] = {}  # for the last two shapes of x
        self._masked = network  # with recurrent dropout a copy, whose weights are masked
        if network.config.recurrent_dropout:
            self._masked = Network(network.config, weights.zeros_like())
        # When a large array is freed, glibc starts to keep freed memory for the next step instead
        # of returning it to the system, which takes 3 to 9 % of a step.
        np.empty(LARGEST, np.uint8)

    def __call__(self, batch: Array, seed: int, learning_rate: float) -> StepResult:
        """Change the weights by one batch.

        A step whose loss or gradient is not finite leaves them as they are.

        Parameters
        ----------
        batch
            Ids, (T + 1, B), with -1 as padding.
        seed
            For dropout.
        learning_rate
            The learning rate.
        """
        message = Batch(batch, seed, learning_rate)
        try:
            self._send(message)
            try:
                return self.update(message)
            except WorkerError as error:  # in the all-reduce: the weights have not changed yet
                self._continue_alone(error)
                return self.update(message)
        except BaseException:
            self.communicator.abort()
            raise

    def share_weights(self) -> None:
        """Give all ranks the weights and the optimizer's state of this one."""
        weights = self.network.parameters.flat
        self.optimizer.prepare(weights)
        self._send(Weights(self.network.config, weights, self.optimizer, self.config))

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """One thread for each of several ranks; one thread of the BLAS for small products."""
        if self.communicator.size > 1:
            return one_thread()
        if self.config.batch_size * self.network.config.hidden_size**2 < LARGE_PRODUCT:
            return one_blas_thread()
        return contextlib.nullcontext()

    def _send(self, message: Weights | Batch) -> None:
        if self.communicator.size > 1:
            try:
                self.communicator.broadcast(message)
            except WorkerError as error:
                self._continue_alone(error)

    def _continue_alone(self, error: WorkerError) -> None:
        warnings.warn(f"{error}: this process continues alone", stacklevel=3)
        self.communicator.close()
        self.communicator = Communicator()

    def update(self, batch: Batch) -> StepResult:
        """Change the weights of this rank by one batch, together with all other ranks."""
        self._buffer[-1] = self._share_of_gradient(batch)
        total = self.communicator.all_reduce(self._buffer)
        gradient, loss = total[:-1], float(total[-1])
        norm = clip_by_global_norm(gradient, self.config.clip_norm or math.inf)
        self.count += 1
        if math.isfinite(loss + norm):
            weights = self.network.parameters.flat
            self.optimizer.update(weights, gradient, batch.learning_rate)
        return StepResult(loss, norm)

    def _share_of_gradient(self, batch: Batch) -> float:
        """Write the gradient for this rank's sequences; return their part of the mean loss."""
        ids, B = batch.ids, batch.ids.shape[1]
        rank, size = self.communicator.rank, self.communicator.size
        first, last = B * rank // size, B * (rank + 1) // size
        y = ids[1:] if self.config.targets == "all" else ids[-1]
        x = ids[:-1, first:last]
        count = y.size
        if ids.dtype.kind == "i":  # of documents, with padding
            count, x = int((y >= 0).sum()), np.maximum(x, 0)
        y = y[..., first:last]
        if not y.size or y.max() < 0:  # no target for this rank
            self._gradient.parameters.flat[...] = 0
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
        found = self._masked.gradients(
            x, y, tapes=self._tapes[x.shape], masks=masks, gradient=self._gradient, count=count
        )
        if weights_mask is not None:
            self._gradient.parameters.flat *= weights_mask
        return float(found.loss)


def follow(communicator: Communicator, network: Network | None, optimizer: Optimizer | None) -> End:
    """Make all steps of rank 0, until it ends.

    Parameters
    ----------
    communicator
        Of a rank other than 0.
    network, optimizer
        The network and optimizer to train. None: copies from rank 0.
    """
    step = None
    try:
        with one_thread():
            while not isinstance(message := communicator.broadcast(None), End):
                if isinstance(message, Batch):
                    assert step is not None
                    step.update(message)
                    continue
                if step is None:
                    network = network or Network(message.sizes, dtype=message.weights.dtype)
                    optimizer = optimizer or message.optimizer
                    step = TrainingStep(network, optimizer, message.config, communicator)
                weights = step.network.parameters.flat
                weights[...] = message.weights
                step.optimizer.prepare(weights)[...] = message.optimizer.state
            return message
    except BaseException:
        communicator.abort()
        raise


def run_worker(*arguments: Any) -> None:
    """The main function of a worker process, with the arguments of `Worker`."""
    follow(Worker(*arguments), None, None)

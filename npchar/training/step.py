"""One training step: gradient, all-reduce, clip, update. It is the same on every rank.

Each rank computes the gradient for its share of the sequences of a batch. Then all ranks make the
same update, each of its own copy of the weights. Rank 0 leads: ``training/trainer.py`` calls it
there, and the other ranks follow its messages.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.layers.parameters import Parameters
from npchar.network.network import Network, Sizes
from npchar.threads import one_blas_thread, one_thread
from npchar.training.config import TrainingConfig
from npchar.training.distributed import Communicator, MPICommunicator, Worker, WorkerError
from npchar.training.history import History
from npchar.training.interrupts import Interrupts
from npchar.training.optimizers import Optimizer, clip_by_global_norm

LARGE_PRODUCT = 1 << 24  # multiplications, from which threads of the BLAS pay in one process
LARGEST = (1 << 25) - (1 << 20)  # bytes, up to which glibc adapts to memory that is freed


class StepResult(NamedTuple):
    """The mean loss over a batch, and the norm of its gradient before clipping."""

    loss: float
    norm: float


class Start(NamedTuple):
    """The message of rank 0 before the first step."""

    sizes: Sizes
    dtype: str
    config: TrainingConfig
    optimizer: Optimizer


class Weights(NamedTuple):
    """The weights and the optimizer's state of rank 0."""

    weights: Array
    state: Array


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
        self._gradient = Network(network.sizes, parameters)
        self._tapes: dict[tuple[int, ...], list[Any]] = {}  # for the last two shapes of x
        self._masked = network  # with recurrent dropout a copy, whose weights are masked
        if network.sizes.recurrent_dropout:
            self._masked = Network(network.sizes, weights.zeros_like())
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
                return self._step(message)
            except WorkerError as error:  # in the all-reduce: the weights have not changed yet
                self._continue_alone(error)
                return self._step(message)
        except BaseException:
            self.communicator.abort()
            raise

    def start(self) -> None:
        """Let the other ranks make the same training step: they call `follow`."""
        weights = self.network.parameters.flat
        self._send(Start(self.network.sizes, weights.dtype.str, self.config, self.optimizer))

    def share_weights(self) -> None:
        """Give all ranks the weights and the optimizer's state of this one."""
        weights = self.network.parameters.flat
        self._send(Weights(weights, self.optimizer.prepare(weights)))

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """One thread for each of several ranks; one thread of the BLAS for small products."""
        if self.communicator.size > 1:
            return one_thread()
        if self.config.batch_size * self.network.sizes.hidden_size**2 < LARGE_PRODUCT:
            return one_blas_thread()
        return contextlib.nullcontext()

    def follow(self) -> End:
        """Make all steps that rank 0 makes, until it ends."""
        try:
            while True:
                message = self.communicator.broadcast(None)
                if isinstance(message, Batch):
                    self._step(message)
                elif isinstance(message, Weights):
                    weights = self.network.parameters.flat
                    weights[...] = message.weights
                    self.optimizer.prepare(weights)[...] = message.state
                else:
                    return End(*message)
        except BaseException:
            self.communicator.abort()
            raise

    def _send(self, message: Start | Weights | Batch | End) -> None:
        if self.communicator.size > 1:
            try:
                self.communicator.broadcast(message)
            except WorkerError as error:
                self._continue_alone(error)

    def _continue_alone(self, error: WorkerError) -> None:
        warnings.warn(f"{error}: this process continues alone", stacklevel=3)
        self.communicator.close()
        self.communicator = Communicator()

    def _step(self, batch: Batch) -> StepResult:
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
    """Make all steps of rank 0.

    Parameters
    ----------
    communicator
        Of a rank other than 0.
    network, optimizer
        The network and optimizer to train. None: copies from rank 0.
    """
    message = communicator.broadcast(None)
    if isinstance(message, Start):
        network = Network(message.sizes, dtype=message.dtype) if network is None else network
        optimizer = message.optimizer if optimizer is None else optimizer
        step = TrainingStep(network, optimizer, message.config, communicator)
        with one_thread():
            return step.follow()
    return End(*message)


def run_worker(*arguments: Any) -> None:
    """The main function of a worker process, with the arguments of `Worker`."""
    follow(Worker(*arguments), None, None)


def train_on_all_ranks(
    lead: Callable[[Communicator], History],
    network: Network,
    optimizer: Optimizer | None,
    inputs: Mapping[str, object],
) -> History:
    """Train one model in all ranks of an MPI job.

    Parameters
    ----------
    lead
        Trains in rank 0. The other ranks make the same steps.
    network, optimizer
        The network and optimizer of this rank. None: a new optimizer, by its name.
    inputs
        What must be the same on all ranks, by name.

    Raises
    ------
    ValueError
        On all ranks, if their inputs differ.
    BaseException
        On all ranks, what `lead` raises.
    """
    communicator = MPICommunicator()
    require_same(communicator, inputs)
    if communicator.rank:
        with Interrupts(terminate=True, ignore=True):
            end = follow(communicator, network, optimizer)
        network.parameters.flat[...], network.epochs_trained = end.weights, end.epochs_trained
        if optimizer is not None:
            optimizer.state = end.state
        if end.error is not None:
            raise end.error
        return end.history

    def finish(history: History, error: BaseException | None = None) -> None:
        state = None if optimizer is None else optimizer.state
        weights, epochs = network.parameters.flat, network.epochs_trained
        communicator.broadcast(End(history, weights, state, epochs, error))

    try:
        history = lead(communicator)
    except BaseException as error:
        finish(History(), error)
        raise
    finish(history)
    return history


def require_same(communicator: Communicator, inputs: Mapping[str, object]) -> None:
    """Raise a ValueError on all ranks unless each input has the same `repr` on all of them."""
    import hashlib  # here, because `import npchar` need not wait for it

    digests = [
        hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).digest()
        for value in inputs.values()
    ]
    differs = communicator.buffer(len(digests), np.dtype(float))
    expected = communicator.broadcast(digests)
    differs[:] = [own != other for own, other in zip(digests, expected, strict=True)]
    count = communicator.all_reduce(differs)
    if names := [name for name, number in zip(inputs, count) if number]:
        raise ValueError(
            f"the ranks of this MPI job have different {' and '.join(names)}; give all of them "
            "the same, or train a model on each rank with workers=1"
        )

"""The layers as one function: ids in, logits, loss and gradient out.

Stacked recurrent layers (``layers/layer.py``) and a Dense layer from ``layers/dense.py``, on
views of one flat parameter vector. It works on ids alone: ``model.py`` joins it to a vocabulary,
``training/worker.py`` runs copies of it in processes of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from npchar.arrays import Array
from npchar.layers.dense import Dense
from npchar.layers.dense_fast import FastDense
from npchar.layers.kinds import FAST, PLAIN
from npchar.layers.layer import Layer
from npchar.layers.loss import log_probabilities, softmax_cross_entropy
from npchar.layers.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# Characters read before a piece of text. Measured on the book's corpus, log p differs by 1e-5
# at most then; for a model that remembers for longer than this it could differ by more.
WARM_UP = 100

# Steps times sequences that are read at once: more take memory and save no time. But the weights
# are prepared anew each time, so that some steps there should be.
AT_ONCE, SHORTEST = 1024, 8

UNLIKELY = 3.0  # nats by which a new symbol's bias is below the lowest


class Sizes(NamedTuple):
    """The sizes and the kind of layer of a network: all but its weights."""

    vocabulary_size: int
    hidden_size: int
    num_layers: int
    dropout: float
    layer: str = "lstm"
    recurrent_dropout: float = 0.0

    @property
    def kind(self) -> type[Layer]:
        """The class of the recurrent layers."""
        return FAST[self.layer]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all arrays, from the input to the output."""
        V, H = self.vocabulary_size, self.hidden_size
        shapes = {}
        for k in range(self.num_layers):
            for name, shape in self.kind.shapes(V if k == 0 else H, H).items():
                shapes[f"{self.layer}{k}.{name}"] = shape
        for name, shape in Dense.shapes(H, V).items():
            shapes[f"dense.{name}"] = shape
        return shapes


class Gradients(NamedTuple):
    """The loss, and its gradients with respect to all it depends on."""

    loss: Array  # a scalar
    parameters: Parameters
    inputs: Array | None  # (T, B, V); None for ids
    states: list[Any]  # with respect to each layer's initial state


class Network:
    """Stacked recurrent layers and a Dense layer, on one parameter vector.

    Parameters
    ----------
    sizes
        The network's sizes.
    parameters
        The weights, of the shapes `sizes.shapes()`; used as they are. Zeros
        when not given.
    dtype
        Their type, where `parameters` is not given.
    kind
        The class of the recurrent layers; when not given, the fast one of the sizes' layer.
    """

    def __init__(
        self,
        sizes: Sizes,
        parameters: Parameters | None = None,
        dtype: DTypeLike = "float32",
        kind: type[Layer] | None = None,
    ) -> None:
        self.sizes = sizes
        self.parameters = Parameters(sizes.shapes(), dtype) if parameters is None else parameters
        self.epochs_trained = 0
        """How many epochs it has been trained, in all calls of `Model.fit`."""
        self.kind = sizes.kind if kind is None else kind
        self.layers, self.dense = self._layers_on(self.parameters)
        # The gradient that was passed last, and its layers: training passes the same each time.
        self._gradient: tuple[Parameters, tuple[list[Layer], FastDense]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_gradient": None}

    def _layers_on(self, parameters: Parameters) -> tuple[list[Layer], FastDense]:
        """The layers whose arrays are the views of `parameters`: weights or a gradient."""
        name = self.sizes.layer
        layers = [self.kind(**parameters.part(f"{name}{k}")) for k in range(self.sizes.num_layers)]
        for k, layer in enumerate(layers):
            layer.depth = k
        return layers, FastDense(**parameters.part("dense"))

    def initialise(self, seed: int) -> None:
        """Fill the weights, each layer as its `initialise` says, from a seed."""
        rng = np.random.default_rng(seed)
        for layer in self.layers:
            layer.initialise(rng)
        self.dense.initialise(rng)

    def astype(self, dtype: DTypeLike) -> Network:
        """A copy with weights of another type."""
        with np.errstate(under="ignore"):
            flat = self.parameters.flat.astype(dtype)
        return Network(self.sizes, Parameters(self.parameters.shapes, flat=flat), kind=self.kind)

    def extended(self, vocabulary_size: int, places: Array) -> Network:
        """A copy that knows more symbols, and of the old ones what this one knows.

        An input row of a new symbol is the mean of the others'. Its logit is a constant so
        low that it takes next to no probability from the others until it is trained.

        Parameters
        ----------
        vocabulary_size
            How many symbols there are then.
        places
            The new ids of the old symbols, (V,).
        """
        network = Network(
            self.sizes._replace(vocabulary_size=vocabulary_size),
            dtype=self.parameters.flat.dtype,
            kind=self.kind,
        )
        for name, new in network.parameters.items():
            old = self.parameters[name]
            grown = [k for k, (m, n) in enumerate(zip(old.shape, new.shape)) if m != n]
            if not grown:
                new[...] = old
                continue
            (axis,) = grown
            if name == "dense.b":
                new[...] = old.min() - UNLIKELY
            elif name == "dense.W":
                new[...] = 0
            else:
                new[...] = old.mean(axis=axis, keepdims=True)
            np.moveaxis(new, axis, 0)[places] = np.moveaxis(old, axis, 0)
        return network

    def plain(self) -> Network:
        """The same network, on the same parameters, of the plain layers."""
        return Network(self.sizes, self.parameters, kind=PLAIN[self.sizes.layer])

    def require_finite(self) -> None:
        """Raise a ValueError if a weight is not a finite number."""
        wrong = [name for name, array in self.parameters.items() if not np.isfinite(array).all()]
        if wrong:
            raise ValueError(
                f"the model has weights that are not finite numbers, in {', '.join(wrong)}; load a "
                "model that was saved before the weights became so, or train a new one"
            )

    @property
    def receptive_field(self) -> int | None:
        """How many characters a prediction depends on; None if on all before it."""
        reaches = [layer.reach for layer in self.layers]
        return None if None in reaches else 1 + sum(reach or 0 for reach in reaches)

    def tapes(self, T: int, B: int) -> list[Any]:
        """Buffers for passes over T steps and B sequences, for each layer that needs them."""
        return [layer.tape(T, B) for layer in self.layers]

    def zero_states(self, B: int) -> list[Any]:
        """Each layer's state before the first step of B sequences."""
        return [layer.zero_state(B) for layer in self.layers]

    def dropout_masks(self, B: int, seed: int) -> list[Array]:
        """Random masks, (1, B, H), to multiply the outputs of each layer with.

        A share `dropout` of each is zero and the rest 1 / (1 − dropout), so that
        the expected value stays (Srivastava et al. 2014). A sequence has the same units dropped
        at all its steps (Gal & Ghahramani 2016), which on the book's corpus is worth 0.005 nats
        held out beside others at each step, and spares drawing them. An empty list with no
        dropout.
        """
        keep = 1 - self.sizes.dropout
        if keep == 1:
            return []
        rng = np.random.default_rng(seed)
        dtype = self.parameters.flat.dtype
        return [
            (rng.random((1, B, self.sizes.hidden_size), np.float32) < keep) / dtype.type(keep)
            for _ in self.layers
        ]

    def weights_mask(self, seed: int) -> Array | None:
        """A random mask, flat like the parameters, to multiply weights and gradient with.

        A share `recurrent_dropout` of the recurrent weights of each layer is zero and the rest
        of them 1 / (1 − recurrent_dropout): DropConnect (Wan et al. 2013) from h to h, which
        leaves the state itself alone (Merity et al. 2018). None with no such dropout.
        """
        keep = 1 - self.sizes.recurrent_dropout
        if keep == 1:
            return None
        rng = np.random.default_rng([seed, 1])  # others than dropout_masks draws
        mask = self.parameters.zeros_like()
        mask.flat[...] = 1
        for name, W in mask.items():
            if name.endswith(".Wh"):
                W[...] = rng.random(W.shape, np.float32) < keep
                W /= W.dtype.type(keep)
        return mask.flat

    def forward(
        self,
        x: Array,
        states: Sequence[Any] | None = None,
        tapes: Sequence[Any] | None = None,
        masks: Sequence[Array] = (),
    ) -> tuple[Array, list[Any]]:
        """Run the recurrent layers over T steps.

        Parameters
        ----------
        x
            Ids, (T, B), or vectors, (T, B, V).
        states
            Each layer's initial state; zeros when not given.
        tapes
            What `tapes(T, B)` returned, to use again.
        masks
            What `dropout_masks` returned, when training.

        Returns
        -------
        outputs, tapes
            The top layer's outputs, (T, B, H), masked, and every layer's tape.
        """
        done = []
        for k, layer in enumerate(self.layers):
            state = None if states is None else states[k]
            done.append(layer.forward(x, state, None if tapes is None else tapes[k]))
            x = done[-1].outputs
            if masks:
                x = x * masks[k]
        return x, done

    def read(self, x: Array, length: int) -> Iterator[tuple[int, Array, list[Any]]]:
        """Run over a long text from the zero state, `length` steps at a time.

        A tape takes some 30 H bytes a step and sequence, so that it is not to be as long
        as the text.

        Yields
        ------
        start, outputs, tapes
            The number of the first of the steps, and what `forward` returns of them.
        """
        states = None
        for start in range(0, len(x), length):
            outputs, tapes = self.forward(x[start : start + length], states)
            yield start, outputs, tapes
            states = [tape.final_state for tape in tapes]

    def logits(self, x: Array, states: Sequence[Any] | None = None) -> tuple[Array, list[Any]]:
        """Logits after each character, (T, B, V), and each layer's final state."""
        outputs, tapes = self.forward(x, states)
        return self.dense.forward(outputs), [tape.final_state for tape in tapes]

    def steps_from(self, states: Sequence[Any]) -> Callable[[Array], Array]:
        """A function that takes ids, (B,), runs one step, and returns logits, (B, V).

        It begins at `states`, with a copy of the weights, and keeps its state between calls.
        """
        top = len(self.layers) - 1
        steppers = [
            layer.stepper(state, self.dense if k == top else None)
            for k, (layer, state) in enumerate(zip(self.layers, states))
        ]

        def step(x: Array) -> Array:
            for stepper in steppers:
                x = stepper.step(x)
            return x

        return step

    def loss(
        self,
        x: Array,
        targets: Array,
        states: Sequence[Any] | None = None,
        tapes: Sequence[Any] | None = None,
    ) -> Array:
        """The mean cross-entropy, without dropout: a scalar, nats per character.

        Parameters
        ----------
        x, states, tapes
            As for `forward`.
        targets
            The ids that come next: (T, B), after every character; or (B,),
            after the last alone.
        """
        outputs, _ = self.forward(x, states, tapes)
        logits = self.dense.forward(outputs if targets.ndim == 2 else outputs[-1])
        return softmax_cross_entropy(logits, targets)[0]

    def log_probabilities(
        self, ids: Array, progress: Callable[[float], object] | None = None
    ) -> Array:
        """The log-probability of each character of a text after its first, given all before it.

        A long text is read as a batch of up to 64 pieces, which is far quicker than one
        sequence. Each piece but the first begins `WARM_UP` characters early, so that its
        state is close to that of a reading from the beginning.

        Parameters
        ----------
        ids
            A text's ids, (n,), at least two.
        progress
            Called with the share that is read, 0 to 1, now and then.

        Returns
        -------
        Array
            (n − 1,) nats, of the weights' type.
        """
        n = len(ids) - 1
        B = min(64, max(1, n // 1000))
        W = WARM_UP if B > 1 else 0
        length = W + math.ceil((n - W) / B)  # of a piece
        # Evenly spread: their distance is (n − W) / B at most, so that they overlap by W.
        begins = np.arange(B) * (n - length) // max(1, B - 1)  # (B,)
        pieces = sliding_window_view(ids, length + 1)[begins].T  # (length + 1, B)
        log_p = np.empty(n, self.parameters.flat.dtype)
        for start, outputs, _ in self.read(pieces[:-1], max(SHORTEST, AT_ONCE // B)):
            stop = start + len(outputs)
            targets = pieces[start + 1 : stop + 1]  # (T, B)
            found = log_probabilities(self.dense.forward(outputs), targets)
            at = begins + np.arange(start, stop)[:, None]
            warm = max(0, W - start)  # the first piece needs no warming up
            log_p[at[:, 0]] = found[:, 0]
            log_p[at[warm:, 1:]] = found[warm:, 1:]
            if progress is not None:
                progress(stop / length)
        return log_p

    def gradients(
        self,
        x: Array,
        targets: Array,
        states: Sequence[Any] | None = None,
        tapes: Sequence[Any] | None = None,
        masks: Sequence[Array] = (),
        gradient: Parameters | None = None,
        count: int | None = None,
    ) -> Gradients:
        """The loss and its gradients with respect to parameters, input and initial states.

        Parameters
        ----------
        x, states, tapes, masks
            As for `forward`.
        targets
            As for `loss`.
        gradient
            Where the parameters' gradient is written; a new one when not given.
        count
            The number of targets, where these are only some of those whose mean is asked for.
        """
        if gradient is None:
            gradient = self.parameters.zeros_like()
            layers = self._layers_on(gradient)
        else:
            known = self._gradient
            if known is None or known[0] is not gradient:
                known = self._gradient = gradient, self._layers_on(gradient)
            layers = known[1]
        layer_gradients, dense_gradient = layers

        outputs, tapes = self.forward(x, states, tapes, masks)
        h = outputs if targets.ndim == 2 else outputs[-1]
        loss, dh = self.dense.cross_entropy(h, targets, dense_gradient, count)

        dstates: list[Any] = []
        dx: Array | None = dh
        for k in reversed(range(len(self.layers))):
            if masks:
                assert dx is not None
                dx *= masks[k] if dx.ndim == 3 else masks[k][0]
            dx, dstate = self.layers[k].backward(tapes[k], dx, None, layer_gradients[k])
            dstates.insert(0, dstate)
        return Gradients(loss, gradient, dx, dstates)


def require_batch(ids: Array, targets: Array, V: int) -> None:
    """Raise a ValueError unless they are ids, (T, B), and targets, (T, B) or (B,), below V."""
    if not ids.size or ids.dtype.kind not in "iu" or targets.dtype.kind not in "iu":
        raise ValueError(
            f"expected ids and targets of whole numbers, at least one, got {ids.size} {ids.dtype} "
            f"and {targets.size} {targets.dtype}"
        )
    if ids.ndim != 2 or targets.shape not in (ids.shape, ids.shape[1:]):
        raise ValueError(
            "expected ids and targets of the shapes (T, B) and (T, B), or (T, B) and (B,), got "
            f"{ids.shape} and {targets.shape}"
        )
    for name, numbers in (("ids", ids), ("targets", targets)):
        if not 0 <= numbers.min() <= numbers.max() < V:
            raise ValueError(
                f"expected {name} from 0 to {V - 1}, got {numbers.min()} to {numbers.max()}"
            )

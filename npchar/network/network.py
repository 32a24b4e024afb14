"""The layers as one function: ids in, logits, loss and gradient out.

Stacked recurrent layers (``layers/layer.py``) and a Dense layer from ``layers/dense.py``, on
views of one flat parameter vector. It works on ids alone: ``model.py`` joins it to a vocabulary,
``training/step.py`` trains copies of it in several processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.fast.dense import FastDense
from npchar.layers.dense import Dense
from npchar.layers.layer import Layer
from npchar.layers.loss import log_probabilities, softmax_cross_entropy
from npchar.layers.parameters import Parameters
from npchar.network.registry import FAST, PLAIN

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# A long text is read in segments side by side: at most SEGMENTS, of at least SEGMENT characters.
SEGMENTS, SEGMENT = 64, 1000
# States agree that differ by less than this, relative to 1 + |state|: a little more than rounding
# makes. A larger difference in float32 changes some log-probabilities by more than 1e-4.
TOLERANCE = {"float32": 4e-6, "float64": 1e-8}
MARK = 64  # the states of two passes are compared after this many steps, and then again and again
ROUNDS = 4  # passes over segments, after which longer segments are tried

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

    def read(
        self, x: Array, length: int, states: Sequence[Any] | None = None
    ) -> Iterator[tuple[int, Array, list[Any]]]:
        """Run over a long text, `length` steps at a time; from the zero state by default.

        The memory depends on `length`, not on the text: a tape takes about 30 H bytes for each
        step and sequence.

        Yields
        ------
        start, outputs, tapes
            The number of the first step, and what `forward` returns for these steps.
        """
        for start in range(0, len(x), length):
            outputs, tapes = self.forward(x[start : start + length], states)
            yield start, outputs, tapes
            states = [tape.final_state for tape in tapes]

    def read_text(
        self,
        ids: Array,
        write: Callable[[Array, Array], object],
        progress: Callable[[float], object] | None = None,
        states: list[Any] | None = None,
    ) -> list[Any]:
        """Run over one long text, in segments side by side; return the states after it.

        A batch takes far less time than the same characters one after another, but each segment
        has to start in the state in which the segment before it ends. So all segments are first
        read from the zero state. Then each segment is read again from the state in which the
        segment before it ended, up to the step at which its state agrees with the earlier pass:
        from there on, the earlier pass was right. Recurrent networks forget, so this takes one or
        two hundred steps on ordinary text.

        If the network remembers for longer than a segment, a second pass changes the end of the
        segment too, and the next segment is read again. If this does not settle in a few rounds,
        the text is read in fewer and longer segments, and in the end as one sequence.

        Parameters
        ----------
        ids
            (n,).
        write
            Called with positions in the text, (T, B), and the top layer's outputs after the
            characters there, (T, B, H). If a position comes more than once, the last call is right.
        progress
            Called with the fraction that is read, 0 to 1, now and then.
        states
            Each layer's state before the text, of one sequence; zeros by default.

        Returns
        -------
        list of states
            Each layer's state after the text, of one sequence.
        """
        states = self.zero_states(1) if states is None else states
        count = min(SEGMENTS, len(ids) // SEGMENT)
        if self.receptive_field is not None:  # convolutions read all steps of a sequence at once
            count = 1
        last = None
        while last is None:
            count = max(1, count)
            last = self._read_segments(ids, count, write, progress, states)
            rest = len(ids) - len(ids) % count  # fewer characters than there are segments
            count, progress = count // 8, None
        for start, outputs, tapes in self.read(ids[rest:, None], AT_ONCE, last):
            write(rest + start + np.arange(len(outputs))[:, None], outputs)
            last = [tape.final_state for tape in tapes]
        return last

    def _read_segments(
        self,
        ids: Array,
        count: int,
        write: Callable[[Array, Array], object],
        progress: Callable[[float], object] | None,
        states: list[Any],
    ) -> list[Any] | None:
        """Run over equal segments of a text; return the last states, None if they do not settle."""
        length = len(ids) // count
        begin = _pack(self.zero_states(count))  # (count, S): each segment's state at its start
        begin[:1] = _pack(states)
        marks = [MARK]
        while marks[-1] < length:
            marks.append(marks[-1] + max(MARK, marks[-1] // 4))
        marks[-1] = length
        # The states at the marks in the latest pass; NaN agrees with nothing.
        known = {mark: np.full_like(begin, np.nan) for mark in marks}
        which = np.arange(count)  # the segments to read
        shape: tuple[int, ...] = ()
        for _ in range(ROUNDS):
            step, states = 0, self._unpack(begin[which])
            for mark in marks:
                while step < mark:
                    stop = min(mark, step + max(SHORTEST, AT_ONCE // len(which)))
                    positions = which * length + np.arange(step, stop)[:, None]  # (T, B)
                    if positions.shape != shape:
                        shape, tapes = positions.shape, self.tapes(*positions.shape)
                    outputs, tapes = self.forward(ids[positions], states, tapes)
                    write(positions, outputs)
                    states, step = [tape.final_state for tape in tapes], stop
                    if progress is not None and step < length:
                        progress(step / length)
                reached = _pack(states)
                again = ~_agree(reached, known[mark][which])
                known[mark][which] = reached
                which, states = which[again], self._unpack(reached[again])
                if not len(which):
                    break
            end, progress = known[length], None
            which = 1 + np.flatnonzero(~_agree(begin[1:], end[:-1]))
            if not len(which):
                return self._unpack(end[-1:])
            begin[which] = end[which - 1]
        return None

    def _unpack(self, rows: Array) -> list[Any]:
        """Each layer's state from the rows that `_pack` made."""
        states, start = [], 0
        for zeros in self.zero_states(len(rows)):
            arrays = []
            for array in zeros:
                stop = start + math.prod(array.shape[1:])
                arrays.append(rows[:, start:stop].reshape(array.shape))
                start = stop
            states.append(type(zeros)(*arrays))
        return states

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
        self,
        ids: Array,
        progress: Callable[[float], object] | None = None,
        states: list[Any] | None = None,
    ) -> tuple[Array, list[Any]]:
        """The log-probability of each character of a text after its first, given all before it.

        Parameters
        ----------
        ids
            A text's ids, (n,), at least two.
        progress, states
            As for `read_text`.

        Returns
        -------
        log_probabilities, states
            (n − 1,) nats, of the weights' type; and each layer's state before the last character.
        """
        log_p = np.empty(len(ids) - 1, self.parameters.flat.dtype)

        def write(positions: Array, outputs: Array) -> None:
            logits = self.dense.forward(outputs)
            log_p[positions] = log_probabilities(logits, ids[positions + 1])

        states = self.read_text(ids[:-1], write, progress, states)
        if progress is not None:
            progress(1.0)
        return log_p, states

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


def _pack(states: Sequence[Any]) -> Array:
    """The states of all layers as one row for each sequence, (B, S)."""
    return np.concatenate([a.reshape(len(a), -1) for state in states for a in state], axis=1)


def _agree(rows: Array, others: Array) -> Array:
    """Which rows, (n, S), have the same state: (n,) booleans."""
    tolerance = TOLERANCE[str(rows.dtype)]
    agree: Array = np.all(np.isclose(rows, others, tolerance, tolerance), axis=1)
    return agree


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

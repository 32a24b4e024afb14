"""The layers as one function: ids in, logits, loss and gradient out.

Stacked LSTMs from ``lstm.py`` and a Dense layer from ``dense.py``, on views of
one flat parameter vector. Knows no text: ``model.py`` joins it to a vocabulary,
``parallel.py`` runs copies of it side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from npchar.dense import Dense, log_probabilities, softmax_cross_entropy
from npchar.lstm import LSTM, State, Tape
from npchar.parameters import Array, Parameters
from npchar.stepper import Stepper

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# Characters read before a piece of text. Measured on the book's corpus, log p differs by 1e-5
# at most then; for a model that remembers for longer than this it could differ by more.
WARM_UP = 100


class Sizes(NamedTuple):
    """What fixes a network but for its weights."""

    vocabulary_size: int
    hidden_size: int
    num_layers: int
    dropout: float

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all arrays, from the input to the output."""
        V, H = self.vocabulary_size, self.hidden_size
        shapes = {}
        for k in range(self.num_layers):
            for name, shape in LSTM.shapes(V if k == 0 else H, H).items():
                shapes[f"lstm{k}.{name}"] = shape
        for name, shape in Dense.shapes(H, V).items():
            shapes[f"dense.{name}"] = shape
        return shapes


class Gradients(NamedTuple):
    """The loss and everything it can be differentiated by."""

    loss: Array  # a scalar
    parameters: Parameters
    inputs: Array | None  # (T, B, V); None for ids
    states: list[State]  # by each layer's initial state


class Network:
    """Stacked LSTMs and a Dense layer, on one parameter vector.

    Parameters
    ----------
    sizes
        The network's sizes.
    parameters
        The weights, of the shapes `sizes.shapes()`; used as they are. Zeros
        when not given.
    dtype
        Their type, where `parameters` is not given.
    """

    def __init__(
        self, sizes: Sizes, parameters: Parameters | None = None, dtype: DTypeLike = "float32"
    ) -> None:
        self.sizes = sizes
        self.parameters = Parameters(sizes.shapes(), dtype) if parameters is None else parameters
        self.lstms, self.dense = self._layers_on(self.parameters)

    def _layers_on(self, parameters: Parameters) -> tuple[list[LSTM], Dense]:
        """The layers whose arrays are the views of `parameters`: weights or a gradient."""

        def views(layer: str) -> dict[str, Array]:
            start = layer + "."
            return {n.removeprefix(start): parameters[n] for n in parameters if n.startswith(start)}

        lstms = [LSTM(**views(f"lstm{k}")) for k in range(self.sizes.num_layers)]
        return lstms, Dense(**views("dense"))

    def initialise(self, seed: int) -> None:
        """Fill the weights as Keras does, from a seed."""
        rng = np.random.default_rng(seed)
        for lstm in self.lstms:
            lstm.initialise(rng)
        self.dense.initialise(rng)

    def astype(self, dtype: DTypeLike) -> Network:
        """A copy with weights of another type."""
        flat = self.parameters.flat.astype(dtype)
        return Network(self.sizes, Parameters(self.parameters.shapes, flat=flat))

    def tapes(self, T: int, B: int) -> list[Tape]:
        """Buffers for passes over T steps and B sequences, one tape a layer."""
        dtype = self.parameters.flat.dtype
        return [Tape(T, B, self.sizes.hidden_size, dtype) for _ in self.lstms]

    def dropout_masks(self, T: int, B: int, seed: int) -> list[Array]:
        """Random masks, (T, B, H), to multiply what passes between two layers.

        A share `dropout` of each is zero and the rest 1 / (1 − dropout), so that
        the expected value stays (Srivastava et al. 2014). None with no dropout.
        """
        keep = 1 - self.sizes.dropout
        if keep == 1:
            return []
        rng = np.random.default_rng(seed)
        dtype = self.parameters.flat.dtype
        return [
            (rng.random((T, B, self.sizes.hidden_size), np.float32) < keep) / dtype.type(keep)
            for _ in self.lstms[1:]
        ]

    def forward(
        self,
        x: Array,
        states: Sequence[State] | None = None,
        tapes: Sequence[Tape] | None = None,
        masks: Sequence[Array] = (),
    ) -> tuple[Array, list[Tape]]:
        """Run the LSTMs over T steps.

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
            The top layer's hidden states, (T, B, H), and every layer's tape.
        """
        done = []
        for k, lstm in enumerate(self.lstms):
            if k > 0 and masks:
                x = x * masks[k - 1]
            state = None if states is None else states[k]
            done.append(lstm.forward(x, state, None if tapes is None else tapes[k]))
            x = done[-1].outputs
        return x, done

    def logits(self, x: Array, states: Sequence[State] | None = None) -> tuple[Array, list[State]]:
        """Logits after each character, (T, B, V), and each layer's final state."""
        outputs, tapes = self.forward(x, states)
        return self.dense.forward(outputs), [tape.final_state for tape in tapes]

    def steps_from(self, states: Sequence[State]) -> Callable[[Array], Array]:
        """A function that takes ids, (B,), goes one character on, and returns logits, (B, V).

        It goes on from `states` with the weights of now, and remembers where it is.
        """
        top = len(self.lstms) - 1
        steppers = [
            Stepper(lstm, state, self.dense if k == top else None)
            for k, (lstm, state) in enumerate(zip(self.lstms, states))
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
        states: Sequence[State] | None = None,
        tapes: Sequence[Tape] | None = None,
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

    def log_probabilities(self, ids: Array) -> Array:
        """The log-probability of each character of a text after its first, from all before it.

        A long text is read in up to 64 pieces side by side, which is far quicker than
        one long reading. Each piece but the first begins `WARM_UP` characters early,
        to have in memory what a reading from the beginning would have.

        Parameters
        ----------
        ids
            A text's ids, (n,), at least two.

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
        log_p = np.empty(n, self.parameters.flat.dtype)
        states = None
        for start in range(0, length, 60):
            stop = min(start + 60, length)
            at = begins + np.arange(start, stop)[:, None]  # (T, B)
            logits, states = self.logits(ids[at], states)
            found = log_probabilities(logits, ids[at + 1])
            warm = max(0, W - start)  # the first piece needs no warming up
            log_p[at[:, 0]] = found[:, 0]
            log_p[at[warm:, 1:]] = found[warm:, 1:]
        return log_p

    def gradients(
        self,
        x: Array,
        targets: Array,
        states: Sequence[State] | None = None,
        tapes: Sequence[Tape] | None = None,
        masks: Sequence[Array] = (),
        gradient: Parameters | None = None,
    ) -> Gradients:
        """The loss and its gradients by the parameters, the input and the initial state.

        Parameters
        ----------
        x, states, tapes, masks
            As for `forward`.
        targets
            As for `loss`.
        gradient
            Where the parameters' gradient is written; a new one when not given.
        """
        gradient = self.parameters.zeros_like() if gradient is None else gradient
        lstm_gradients, dense_gradient = self._layers_on(gradient)

        outputs, tapes = self.forward(x, states, tapes, masks)
        if targets.ndim == 2:
            loss, dlogits = softmax_cross_entropy(self.dense.forward(outputs), targets)
            dh = self.dense.backward(outputs, dlogits, dense_gradient)
            dstate = None
        else:
            loss, dlogits = softmax_cross_entropy(self.dense.forward(outputs[-1]), targets)
            dh_last = self.dense.backward(outputs[-1], dlogits, dense_gradient)
            dh, dstate = None, State(dh_last, np.zeros_like(dh_last))

        dstates: list[State] = []
        for k in reversed(range(len(self.lstms))):
            dx, dinitial = self.lstms[k].backward(tapes[k], dh, dstate, lstm_gradients[k])
            dstates.insert(0, dinitial)
            dh, dstate = dx, None
            if k > 0 and masks:
                dh *= masks[k - 1]
        return Gradients(loss, gradient, dx, dstates)

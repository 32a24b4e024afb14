"""A causal convolution: sequences without recurrence.

Each output depends on the input of its own step and on the input d steps before. The distance d is
1 in the first layer of a stack, 2 in the second, then 4, 8 and so on. The receptive field of a
stack of n layers, up to ten, is 2ⁿ characters (van den Oord et al. 2016; Bai et al. 2018). All
steps of a text are computed at the same time. The state consists of the last d inputs.

The input d steps before is called x₋. For the first d steps, it comes from the state:

    v = x W[0, 0] + x₋ W[0, 1] + b[0]      the value
    g = σ(x W[1, 0] + x₋ W[1, 1] + b[1])   the gate: how much of v to show
    h = v g + x                            the output; in the first layer of a stack v g

The product v g is a gated linear unit (Dauphin et al. 2017): the gradient of v is scaled only by
the gate, and not by the derivative of a tanh. Adding x is a residual connection (He et al. 2016),
which passes the gradient on unchanged. Deep stacks need it to learn well. The first layer has no
residual connection, because its input has another size.

The argument of σ is called z_g. In the backward pass, dv is the gradient of the loss with respect
to v, and so on:

    dv   = dh g                            of h = v g + x
    dz_g = dh v g (1 − g)                  and σ' = σ (1 − σ)
    dW   = Σ xᵀ (dv, dz_g), Σ x₋ᵀ (dv, dz_g)   over time and batch
    db   = Σ (dv, dz_g)
    dx   = Σ (dv, dz_g) W[:, 0]ᵀ, from d steps later Σ (dv, dz_g) W[:, 1]ᵀ, and dh where x is added
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.layers.dense import Dense
from npchar.layers.layer import AnyTape, Layer, require_step, sigmoid

__all__ = ["Conv"]

WIDTH = 2  # inputs that an output depends on
CYCLE = 10  # layers after which the distances start again at 1, as in WaveNet; the longest is 512


class ConvState(NamedTuple):
    """The state of a convolution between two steps: its last inputs, oldest first."""

    last: Array  # (B, d, D)


class ConvTape(NamedTuple):
    """The values of one forward pass."""

    inputs: Array  # (d + T, B, D): the inputs in the state, then those of the T steps
    v: Array  # (T, B, H), as are g and h
    g: Array
    h: Array
    ids: bool  # whether x was ids

    @property
    def outputs(self) -> Array:
        """The output of each step, (T, B, H)."""
        return self.h

    @property
    def final_state(self) -> ConvState:
        """The state after the last step."""
        return ConvState(self.inputs[len(self.h) :].swapaxes(0, 1))

    @property
    def values(self) -> dict[str, Array]:
        """The value, the gate and the output of each step, (T, B, H)."""
        return {"v": self.v, "g": self.g, "h": self.h}


class Conv(Layer[ConvState]):
    """A causal, gated convolution over the inputs of two steps.

    Parameters
    ----------
    W
        Weights, (2, 2, D, H). The first axis is the value and the gate, the second the input of
        the same step and the input d steps before.
    b
        Biases, (2, H).
    depth
        The index of the layer in a stack, from 0. It determines d. Layers with a depth of 1 or more
        add their input to their output, so D must equal H.

    Notes
    -----
    A pass over T steps and B sequences costs about 8 TBHD floating-point operations forward and
    twice that backward. This is half the cost of an LSTM with D = H. Ids cost as much as vectors.

    Examples
    --------
    >>> npchar.Conv.shapes(5, 3)["W"]
    (2, 2, 5, 3)
    >>> layer = npchar.Conv.create(input_size=5, hidden_size=3)
    >>> layer.initialise(np.random.default_rng(1))  # other weights
    >>> tape = layer.forward(np.array([[0], [4], [2]]))  # three ids, (T, B)
    >>> tape.outputs.shape, layer.reach, layer.state_shapes(1)
    ((3, 1, 3), 1, ((1, 1, 5),))
    >>> gradient = layer.zeros_like()
    >>> dx, dstate = layer.backward(tape, np.ones((3, 1, 3)), None, gradient)
    >>> gradient.W.shape, dstate.last.shape
    ((2, 2, 5, 3), (1, 1, 5))
    >>> h, state = layer.step(np.array([1]), tape.final_state)  # one id more
    >>> stepper = layer.stepper(tape.final_state)  # the same, prepared for many steps
    >>> np.allclose(stepper.step(np.array([1])), h)
    True
    >>> x = layer.vectors(np.array([0]))  # a step by hand: one-hot
    >>> v, g = layer.equations(x, np.zeros_like(x))
    >>> np.allclose(v * g, tape.outputs[0])
    True
    """

    name = "conv"
    state_type = ConvState
    tape_size = 5

    def __init__(self, W: Array, b: Array, depth: int = 0) -> None:
        self.W, self.b, self.depth = W, b, depth
        self._set_sizes()
        D, H = self.sizes
        if depth and D != H:
            raise ValueError(
                f"expected equal input and output sizes at a depth of 1 or more, got {D} and {H}"
            )

    @staticmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays."""
        D, H = input_size, hidden_size
        return {"W": (2, WIDTH, D, H), "b": (2, H)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights: Glorot-uniform over the inputs of both steps, zero biases."""
        D, H = self.sizes
        limit = np.sqrt(6 / (WIDTH * D + H))
        self.W[...] = rng.uniform(-limit, limit, self.W.shape)
        self.b[...] = 0

    @property
    def reach(self) -> int:
        """The number of steps between the two inputs: d."""
        return 1 << self.depth % CYCLE

    def state_shapes(self, B: int) -> tuple[tuple[int, ...], ...]:
        """The shape of the last inputs."""
        return ((B, self.reach, self.sizes[0]),)

    def forward(self, x: Array, state: ConvState | None = None, tape: AnyTape = None) -> ConvTape:
        """Run over T steps in one pass: see `Layer.forward`. Each call creates a new tape."""
        x, (before,) = self._begin(x, state)
        vectors = self.vectors(x)
        inputs = np.concatenate([before.swapaxes(0, 1), vectors])  # (d + T, B, D)
        v, g = self.equations(vectors, inputs[: len(x)])  # (T, B, H)
        h = v * g
        if self.depth:
            h += vectors
        return ConvTape(inputs, v, g, h, ids=x.ndim == 2)

    def equations(self, x: Array, x_: Array) -> tuple[Array, Array]:
        """Return v and g, (..., H), for the inputs of a step and d steps before, (..., D)."""
        D, H = self.sizes
        rows, rows_ = x.reshape(-1, D), x_.reshape(-1, D)  # a product for all steps
        z = rows @ self.W[:, 0] + rows_ @ self.W[:, 1] + self.b[:, None]  # (2, n, H)
        v, z_g = z.reshape(2, *x.shape[:-1], H)
        return v, sigmoid(z_g)

    def _stepper(self, state: ConvState, dense: Dense | None) -> ConvStepper:
        return ConvStepper(self, state, dense)

    def backward(
        self, tape: AnyTape, dh: Array | None, dstate: ConvState | None, gradient: Conv
    ) -> tuple[Array | None, ConvState]:
        """Backpropagate through all steps: see `Layer.backward`."""
        dh, dstate = self._begin_backward(tape, ConvTape, dh, dstate, gradient)
        (T, B, H), (D, _) = dh.shape, self.sizes
        dinputs = np.zeros(tape.inputs.shape, self.W.dtype)  # (d + T, B, D)
        dinputs[T:] = dstate.last.swapaxes(0, 1)

        dv = dh * tape.g
        dz_g = dh * tape.v * tape.g * (1 - tape.g)
        dz = np.stack([dv, dz_g]).reshape(2, T * B, H)
        d = self.reach
        for k, start in enumerate((d, 0)):  # the inputs of each step, and those d steps before
            x = tape.inputs[start : start + T].reshape(T * B, D)
            gradient.W[:, k] = x.T @ dz
            dinputs[start : start + T] += (
                (dz @ self.W[:, k].swapaxes(1, 2)).sum(axis=0).reshape(T, B, D)
            )
        gradient.b[...] = dz.sum(axis=1)
        if self.depth:
            dinputs[d:] += dh
        return (None if tape.ids else dinputs[d:]), ConvState(dinputs[:d].swapaxes(0, 1))


class ConvStepper:
    """A convolution that runs one step at a time: see `Layer.stepper`.

    The last inputs are stored in a ring buffer, so that a step does not move them.
    """

    def __init__(self, layer: Conv, state: ConvState, dense: Dense | None) -> None:
        (last,), (D, H) = state, layer.sizes
        B = len(last)
        self.ring = last.swapaxes(0, 1).copy()  # (d, B, D)
        self.at = 0
        self.residual = layer.depth > 0
        # Both inputs and both gates in one product
        self.W = layer.W.transpose(1, 2, 0, 3).reshape(WIDTH * D, 2 * H)  # a copy
        self.b = layer.b.reshape(-1).copy()
        self.inputs = np.zeros((B, WIDTH * D), layer.W.dtype)
        self.dense = None if dense is None else Dense(dense.W.copy(), dense.b.copy())
        self.sequences = np.arange(B)

    def step(self, x: Array) -> Array:
        """Run one step with ids, (B,), or vectors, (B, D); return outputs or logits."""
        inputs, D = self.inputs, self.ring.shape[2]
        now = inputs[:, :D]
        require_step(x, len(now), D)
        if x.ndim == 1:
            now[...] = 0
            now[self.sequences, x] = 1
        else:
            now[...] = x
        inputs[:, D:] = self.ring[self.at]
        self.ring[self.at] = now
        self.at = (self.at + 1) % len(self.ring)
        z = inputs @ self.W
        z += self.b
        v, z_g = np.split(z, 2, axis=1)
        h = v * sigmoid(z_g)
        if self.residual:
            h += now
        return h if self.dense is None else self.dense.forward(h)

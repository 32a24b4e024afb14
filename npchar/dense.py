"""The output layer and the loss: hidden states to logits to cross-entropy.

Hidden states come from ``lstm.py``; the logits go to ``sampling.py`` when text
is generated, or to the loss here when the model is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from npchar.parameters import Array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


class Dense:
    """A fully connected layer: ``logits = h W + b``.

    Parameters
    ----------
    W
        Weights, (H, V).
    b
        Biases, (V,).
    """

    def __init__(self, W: Array, b: Array) -> None:
        self.W, self.b = W, b

    @staticmethod
    def shapes(input_size: int, output_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays."""
        return {"W": (input_size, output_size), "b": (output_size,)}

    @classmethod
    def create(
        cls, input_size: int, output_size: int, seed: int = 0, dtype: DTypeLike = "float32"
    ) -> Dense:
        """A layer of its own, outside a model, with initialised weights."""
        shapes = cls.shapes(input_size, output_size)
        layer = cls(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})
        layer.initialise(np.random.default_rng(seed))
        return layer

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights as Keras does: Glorot-uniform, zero biases."""
        limit = np.sqrt(6 / sum(self.W.shape))
        self.W[...] = rng.uniform(-limit, limit, self.W.shape)
        self.b[...] = 0

    def forward(self, h: Array) -> Array:
        """Logits, (..., V), of hidden states, (..., H). Costs 2 HV operations a row."""
        H, V = self.W.shape
        logits = h.reshape(-1, H) @ self.W  # (n, V): one product for all steps
        logits += self.b
        return logits.reshape(*h.shape[:-1], V)

    def backward(self, h: Array, dlogits: Array, gradient: Dense) -> Array:
        """Write the gradients by W and b to `gradient`; return the one by h.

        Parameters
        ----------
        h
            The hidden states that went in, (..., H).
        dlogits
            The gradient by the logits, (..., V).
        gradient
            A layer of the same shapes; its arrays are overwritten.
        """
        H, V = self.W.shape
        rows = dlogits.reshape(-1, V)
        np.matmul(h.reshape(-1, H).T, rows, out=gradient.W)
        np.matmul(np.ones(len(rows), rows.dtype), rows, out=gradient.b)  # a sum, by BLAS
        return (rows @ self.W.T).reshape(h.shape)


def softmax_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """The mean cross-entropy of softmax(logits), and its gradient by the logits.

    From the logits, never from probabilities: a log of a clipped probability
    has no gradient where the model is most wrong, which is how the book's run
    dies at its 56th epoch.

    Parameters
    ----------
    logits
        (..., V); complex ones are taken as analytic, for the gradient check.
    targets
        The right ids, (...).

    Returns
    -------
    loss
        A scalar array in the logits' dtype: nats per character, the mean over
        all targets.
    dlogits
        (softmax(logits) − one-hot(targets)) / targets.size, (..., V).
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets have the shape {targets.shape}; logits of the shape {logits.shape} "
            f"need {logits.shape[:-1]}"
        )
    rows = logits.reshape(-1, logits.shape[-1])  # (n, V)
    n = rows.shape[0]
    picked = np.arange(n), targets.reshape(-1)
    shifted = rows - rows.real.max(axis=1, keepdims=True)  # exp cannot overflow
    dlogits = np.exp(shifted)  # (n, V)
    total = dlogits @ np.ones(dlogits.shape[1], rows.dtype)  # (n,): a sum, by BLAS
    loss = (np.log(total) - shifted[picked]).mean()
    dlogits /= (n * total)[:, None]
    dlogits[picked] -= dlogits.dtype.type(1 / n)
    return loss, dlogits.reshape(logits.shape)


def log_probabilities(logits: Array, ids: Array) -> Array:
    """Log softmax(logits) at some ids: nats.

    Parameters
    ----------
    logits
        (..., V).
    ids
        (...).

    Returns
    -------
    Array
        (...), of the logits' type.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, ids[..., None].astype(np.intp), axis=-1)[..., 0]
    result: Array = picked - np.log(np.exp(shifted).sum(axis=-1))
    return result

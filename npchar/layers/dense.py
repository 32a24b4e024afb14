"""The output layer: hidden states to logits.

The hidden states come from the layer below, such as ``layers/lstm.py``. The logits are used by
``layers/loss.py`` during training and by ``generation/sampling.py`` during generation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from npchar.arrays import Array, CopiesKeepViews

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Dense"]


class Dense(CopiesKeepViews):
    """A fully connected layer: ``logits = h W + b``.

    Parameters
    ----------
    W
        Weights, (H, V).
    b
        Biases, (V,).

    Examples
    --------
    >>> layer = npchar.Dense.create(input_size=4, output_size=3)
    >>> layer
    Dense(input_size=4, output_size=3, dtype=float32)
    >>> layer.initialise(np.random.default_rng(1))  # other weights
    >>> h = np.ones((5, 2, 4), "float32")  # (T, B, H)
    >>> layer.forward(h).shape
    (5, 2, 3)
    >>> gradient = npchar.Dense(np.empty_like(layer.W), np.empty_like(layer.b))
    >>> dh = layer.backward(h, np.ones((5, 2, 3), "float32"), gradient)
    >>> dh.shape, gradient.b
    ((5, 2, 4), array([10., 10., 10.], dtype=float32))
    """

    def __init__(self, W: Array, b: Array) -> None:
        self.W, self.b = W, b

    @staticmethod
    def shapes(input_size: int, output_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays.

        Examples
        --------
        >>> npchar.Dense.shapes(4, 3)
        {'W': (4, 3), 'b': (3,)}
        """
        return {"W": (input_size, output_size), "b": (output_size,)}

    @classmethod
    def create(
        cls, input_size: int, output_size: int, seed: int = 0, dtype: DTypeLike = "float32"
    ) -> Dense:
        """A single layer, outside a model, with initialised weights."""
        shapes = cls.shapes(input_size, output_size)
        layer = cls(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})
        layer.initialise(np.random.default_rng(seed))
        return layer

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights as Keras does: Glorot-uniform, zero biases."""
        limit = np.sqrt(6 / sum(self.W.shape))
        self.W[...] = rng.uniform(-limit, limit, self.W.shape)
        self.b[...] = 0

    def __repr__(self) -> str:
        H, V = self.W.shape
        return f"Dense(input_size={H}, output_size={V}, dtype={self.W.dtype})"

    def forward(self, h: Array) -> Array:
        """Compute the logits, (..., V), of hidden states, (..., H): 2 HV operations per row."""
        H, V = self.W.shape
        if h.ndim < 1 or h.shape[-1] != H:
            raise ValueError(f"expected vectors of {H} numbers, (..., {H}), got {h.shape}")
        logits = h.reshape(-1, H) @ self.W  # (n, V): one product for all steps
        logits += self.b
        return logits.reshape(*h.shape[:-1], V)

    def backward(self, h: Array, dlogits: Array, gradient: Dense) -> Array:
        """Write the gradients of W and b to `gradient`, and return the gradient of h.

        Parameters
        ----------
        h
            The input of the forward pass, (..., H).
        dlogits
            The gradient of the loss with respect to the logits, (..., V).
        gradient
            A layer of the same shapes; its arrays are overwritten.

        Returns
        -------
        Array
            The gradient with respect to h, (..., H).

        Raises
        ------
        ValueError
            For a `dlogits` of another shape.
        """
        H, V = self.W.shape
        if dlogits.shape != (*h.shape[:-1], V):
            raise ValueError(
                f"expected dlogits of the shape {(*h.shape[:-1], V)} for h of {h.shape}, got "
                f"{dlogits.shape}"
            )
        rows = dlogits.reshape(-1, V)
        np.matmul(h.reshape(-1, H).T, rows, out=gradient.W)
        np.dot(np.ones(len(rows), rows.dtype), rows, out=gradient.b)  # a sum, by BLAS
        return (rows @ self.W.T).reshape(h.shape)

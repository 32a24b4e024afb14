"""All weights of a model as one flat vector, with a named view for each array.

The layers use the views. Code that treats all weights alike uses the vector: optimizers, gradient
clipping, the sum over processes, model files and the gradient check. A gradient is another
`Parameters` with the same shapes.

Next: ``layers/lstm.py`` and ``layers/dense.py``, which use these arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from npchar.arrays import Array, CopiesKeepViews, aligned_empty

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Parameters"]


class Parameters(CopiesKeepViews, Mapping[str, Array]):
    """Named views of one flat vector.

    Parameters
    ----------
    shapes
        The names and shapes of the arrays, in their order in the vector.
    dtype
        The dtype of the vector, if `flat` is None.
    flat
        The vector, which is not copied. Default: zeros.

    Examples
    --------
    >>> parameters = npchar.Parameters({"W": (2, 3), "b": (3,)})
    >>> parameters["b"][:] = 1
    >>> float(parameters.flat.sum())
    3.0
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: DTypeLike = "float32",
        flat: Array | None = None,
    ) -> None:
        self.shapes = dict(shapes)
        """The names and shapes of the arrays."""
        size = sum(math.prod(shape) for shape in self.shapes.values())
        if flat is None:
            flat = aligned_empty(size, dtype)
            flat[...] = 0
        self.flat: Array = flat
        """The vector, in which the arrays follow each other."""
        if self.flat.shape != (size,):
            raise ValueError(f"expected flat of the shape ({size},), got {self.flat.shape}")
        self._views = self._make_views()

    def _make_views(self) -> dict[str, Array]:
        views: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            views[name] = self.flat[start:stop].reshape(shape)
            start = stop
        return views

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_views": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._views = self._make_views()

    @classmethod
    def of(cls, dtype: DTypeLike = "float32", **parts: Mapping[str, tuple[int, ...]]) -> Parameters:
        """Create zeros for several layers, each given by its name and `shapes`.

        Examples
        --------
        >>> parameters = npchar.Parameters.of(
        ...     gru=npchar.GRU.shapes(3, 8), dense=npchar.Dense.shapes(8, 2)
        ... )
        >>> list(parameters)
        ['gru.Wx', 'gru.Wh', 'gru.b', 'gru.bq', 'dense.W', 'dense.b']
        >>> layer = npchar.GRU(**parameters.part("gru"))
        """
        return cls(
            {f"{part}.{n}": shape for part, shapes in parts.items() for n, shape in shapes.items()},
            dtype,
        )

    def part(self, name: str) -> dict[str, Array]:
        """The arrays of one layer by name, as arguments of its class.

        Raises
        ------
        KeyError
            If there is no such layer.

        Examples
        --------
        >>> parameters = npchar.Parameters.of(dense=npchar.Dense.shapes(4, 3))
        >>> npchar.Dense(**parameters.part("dense"))
        Dense(input_size=4, output_size=3, dtype=float32)
        """
        start = name + "."
        arrays = {n.removeprefix(start): self[n] for n in self if n.startswith(start)}
        if not arrays:
            parts = dict.fromkeys(n.split(".")[0] for n in self)
            raise KeyError(f"expected one of {', '.join(parts)}, got {name!r}")
        return arrays

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __setitem__(self, name: str, values: Array) -> None:
        self._views[name][...] = values

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return f"Parameters({self.flat.size} {self.flat.dtype}: {arrays})"

    def zeros_like(self) -> Parameters:
        """Create parameters of the same shapes and dtype filled with zeros, for a gradient.

        Examples
        --------
        >>> npchar.Parameters({"W": (2, 3), "b": (3,)}).zeros_like()
        Parameters(9 float32: W (2, 3), b (3,))
        """
        return Parameters(self.shapes, self.flat.dtype)

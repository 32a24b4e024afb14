"""The output layer used for training: `Dense`, and the loss behind it, made fast.

The results are those of ``layers/dense.py`` and ``layers/loss.py``, to rounding. With
thousands of symbols the logits of a batch are larger than the processor's cache, and each pass
over them costs as much as a good part of a product. So the logits, the loss and its gradient are
computed for a few rows at a time, which stay in the cache meanwhile; and passes over them are
spared: logits of a usual size need no shift (`overwrite_with_gradient`), and of many symbols there
is none to add the biases and none to scale the gradient: 5 % of a step with 4,000 symbols.
"""

from __future__ import annotations

import numpy as np

from npchar.arrays import Array, aligned_empty
from npchar.layers.dense import Dense
from npchar.layers.loss import softmax_cross_entropy
from npchar.layers.products import column_tiles, product_tiles, row_tiles, tiling

IN_CACHE = 1 << 17  # numbers
USUAL = 30.0  # size of logits: no exponential, sum or quotient of them leaves the range of float32


class FastDense(Dense):
    """A `Dense` that goes on to the loss: the same arrays, the same results to rounding."""

    def cross_entropy(
        self, h: Array, targets: Array, gradient: Dense, count: int | None = None
    ) -> tuple[Array, Array]:
        """The mean cross-entropy of the logits, and its gradients.

        Parameters
        ----------
        h
            Hidden states, (..., H).
        targets
            The ids that are to be predicted, (...); one below 0 is none.
        gradient
            A layer of the same shapes; its arrays are overwritten.
        count
            The number of targets, where these are only some of those whose mean is asked for.

        Returns
        -------
        loss, dh
            As `softmax_cross_entropy` returns the one and `Dense.backward` the other.
        """
        (H, V), ids = self.W.shape, targets.reshape(-1)
        rows = h.reshape(-1, H)  # (n, H)
        n, dtype = len(rows), rows.dtype
        count = int((ids >= 0).sum()) if count is None else count
        dlogits, scale = aligned_empty((n, V), dtype), np.ones((n, 1), dtype)
        loss = np.zeros((), dtype)

        # With many symbols a pass over the logits takes longer than one over h: then the biases are
        # the weights of a 1 appended to h, and h and dh are scaled instead of the logits' gradient.
        many = V > 2 * H
        inputs = rows
        if many:
            lines = H // 16 + 1  # each row begins at a line of the cache
            inputs = aligned_empty((n, 16 * lines), dtype)[:, : H + 1]
            inputs[:, :H], inputs[:, H] = rows, 1

        step = max(1, IN_CACHE // V)
        step = min(n, step - step % 32 or step)
        height, tile, W = 0, (0, 0), self.W[:, :0]
        for start in range(0, n, step):
            some = slice(start, start + step)
            logits = dlogits[some]
            if ids[some].max() < 0:  # nothing is to be predicted here
                logits[...] = 0
                continue
            if len(logits) != height:  # the first block, or a shorter last one
                height = len(logits)
                tile = tiling(height, inputs.shape[1], V, dtype)
                if W.shape[-1] != tile[1]:
                    W = self.tiles_with_biases(tile[1]) if many else column_tiles(self.W, tile[1])
            np.matmul(row_tiles(inputs[some], tile[0]), W, out=product_tiles(logits, *tile))
            if not many:
                logits += self.b
            loss += overwrite_with_gradient(logits, ids[some], count, scale[some])
            if not many:
                logits *= scale[some]

        if many:
            rows = np.multiply(rows, scale, inputs[:, :H])
        np.matmul(rows.T, dlogits, out=gradient.W)
        sums = scale[:, 0] if many else np.ones(n, dtype)
        np.matmul(sums, dlogits, out=gradient.b)  # a sum, by BLAS
        dh = dlogits @ self.W.T
        if many:
            dh *= scale
        return loss, dh.reshape(h.shape)

    def tiles_with_biases(self, columns: int) -> Array:
        """The weights and a last row of biases, in tiles: (V/columns, H + 1, columns)."""
        H, V = self.W.shape
        tiles = aligned_empty((V // columns, H + 1, columns), self.W.dtype)
        tiles[:, :H] = self.W.reshape(H, -1, columns).swapaxes(0, 1)
        tiles[:, H] = self.b.reshape(-1, columns)
        return tiles


def overwrite_with_gradient(logits: Array, targets: Array, count: int, scale: Array) -> Array:
    """Write the gradient of `softmax_cross_entropy` over logits; return the loss.

    Up to a factor for each row: it is `scale`, (n, 1), which is written too, times what then stands
    in `logits`, (n, V), which are contiguous. This spares the search for each row's largest logit,
    which prevents overflow: usual logits cannot overflow.
    """
    n, V = logits.shape
    usual = logits.min() > -USUAL and logits.max() < USUAL  # not so where one is not a number
    if not (usual and targets.shape == (n,) and targets.min() >= 0 and targets.max() < V):
        scale[...] = 1
        return softmax_cross_entropy(logits, targets, out=logits, count=count)[0]
    flat, picked = logits.reshape(-1), np.arange(0, n * V, V) + targets.astype(np.intp)
    np.exp(logits, logits)
    total = np.dot(logits, np.ones(V, logits.dtype))  # (n,): a sum, by BLAS
    loss: Array = -np.log(flat.take(picked) / total).sum() / logits.dtype.type(count)
    flat[picked] -= total
    scale[:, 0] = 1 / (count * total)
    return loss

"""The output layer used for training: `Dense`, and the loss behind it, made fast.

The results are those of ``layers/dense.py`` and ``layers/loss.py``, to rounding. With
thousands of symbols the logits of a batch are larger than the processor's cache, and each pass
over them costs as much as a good part of a product. So the logits, the loss and its gradient are
computed for a few rows at a time, which stay in the cache meanwhile.
"""

from __future__ import annotations

import numpy as np

from npchar.arrays import Array, aligned_empty
from npchar.layers.dense import Dense
from npchar.layers.loss import softmax_cross_entropy
from npchar.layers.products import column_tiles, product_tiles, row_tiles, tiling

IN_CACHE = 1 << 17  # numbers


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
        n = len(rows)
        count = int((ids >= 0).sum()) if count is None else count
        dlogits = aligned_empty((n, V), rows.dtype)
        loss = np.zeros((), rows.dtype)
        gradient.b[...] = 0
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
                tile = tiling(height, H, V, rows.dtype)
                W = W if W.shape[-1] == tile[1] else column_tiles(self.W, tile[1])
            np.matmul(row_tiles(rows[some], tile[0]), W, out=product_tiles(logits, *tile))
            logits += self.b
            loss += softmax_cross_entropy(logits, ids[some], out=logits, count=count)[0]
            gradient.b += np.dot(np.ones(len(logits), rows.dtype), logits)  # a sum, by BLAS
        np.matmul(rows.T, dlogits, out=gradient.W)
        return loss, (dlogits @ self.W.T).reshape(h.shape)

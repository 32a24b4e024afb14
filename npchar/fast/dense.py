"""The optimized output layer and loss: `Dense` and `softmax_cross_entropy` for training."""

from __future__ import annotations

import numpy as np

from npchar.arrays import Array, aligned_empty
from npchar.fast.matmul import MatmulPlan
from npchar.layers.dense import Dense
from npchar.layers.loss import softmax_cross_entropy

BLOCK = 1 << 18  # logits computed at a time, which stay in the processor's cache
CHUNK = 1 << 21  # logits kept at a time: larger arrays would be allocated anew for every step


class FastDense(Dense):
    """A `Dense` layer with its loss: the same arrays, and the same results to rounding."""

    def cross_entropy(
        self, h: Array, targets: Array, gradient: Dense, count: int | None = None
    ) -> tuple[Array, Array]:
        """The mean cross-entropy of the logits, and its gradients.

        The loss is computed in blocks of rows, so that the logits stay in the processor's cache.
        This is faster for vocabularies with thousands of symbols.

        Parameters
        ----------
        h
            Hidden states, (..., H).
        targets
            The ids of the next characters, (...). Negative ids are padding.
        gradient
            A layer of the same shapes. Its arrays are overwritten.
        count
            The number of targets to divide by. Default: the number in `targets`.

        Returns
        -------
        loss, dh
            The loss, as in `softmax_cross_entropy`, and its gradient with respect to h.
        """
        (H, V), ids = self.W.shape, targets.reshape(-1)
        rows = h.reshape(-1, H)  # (n, H)
        n, dtype = len(rows), rows.dtype
        count = int((ids >= 0).sum()) if count is None else count
        step, height = max(32, BLOCK // V // 32 * 32), 0
        chunk = max(step, CHUNK // V // step * step)
        buffer, dh = aligned_empty((min(n, chunk), V), dtype), np.empty_like(rows)
        loss, ones = np.zeros((), dtype), np.ones(n, dtype)
        gradient.W[...], gradient.b[...] = 0, 0
        for first in range(0, n, chunk):
            part = rows[first : first + chunk]
            dlogits = buffer[: len(part)]
            for start in range(0, len(part), step):
                block = slice(start, start + step)
                logits, targets = dlogits[block], ids[first:][block]
                if targets.max() < 0:  # all rows are padding
                    logits[...] = 0
                    continue
                if len(logits) != height:  # the first block, or a shorter last block
                    height = len(logits)
                    plan = MatmulPlan(height, H, V, dtype)
                    W = plan.right(self.W[None])
                np.matmul(plan.left(part[None, block]), W, plan.out(logits[None]))
                logits += self.b
                loss += softmax_cross_entropy(logits, targets, out=logits, count=count)[0]
            gradient.W += part.T @ dlogits
            gradient.b += ones[: len(part)] @ dlogits  # a sum, by BLAS
            np.matmul(dlogits, self.W.T, out=dh[first : first + chunk])
        return loss, dh.reshape(h.shape)

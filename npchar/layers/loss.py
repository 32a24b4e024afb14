"""The losses and their gradients: softmax cross-entropy and mean squared error.

Logits come from ``layers/dense.py``, and ``network/network.py`` backpropagates the gradient.
"""

from __future__ import annotations

import numpy as np

from npchar.arrays import Array

__all__ = ["mean_squared_error", "softmax_cross_entropy"]


def softmax_cross_entropy(
    logits: Array, targets: Array, *, out: Array | None = None, count: int | None = None
) -> tuple[Array, Array]:
    """The mean cross-entropy of softmax(logits), and its gradient with respect to the logits.

    The loss is computed from the logits instead of clipped probabilities, because the logarithm of
    a clipped probability has no gradient exactly where the prediction is worst.

    Parameters
    ----------
    logits
        (..., V). They can be complex, as in the gradient check.
    targets
        The target ids, (...). Negative ids are padding: they add nothing to the loss or the
        gradient.
    out
        An array for the gradient, which can be `logits` itself. Default: a new array.
    count
        The number of targets n to divide by, if `targets` has only part of a batch. Default: the
        number of targets without padding.

    Returns
    -------
    loss
        A scalar array in the dtype of the logits: the mean over the targets, nats per character.
    dlogits
        (softmax(logits) − one-hot(targets)) / n, (..., V); 0 for padding.

    Raises
    ------
    ValueError
        If the targets have another shape or are out of range, or if there are no targets.

    Examples
    --------
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25]]))  # (1, V)
    >>> loss, dlogits = npchar.softmax_cross_entropy(logits, np.array([0]))
    >>> round(float(loss), 4), dlogits  # −log 0.5; the probabilities, minus 1 at the target
    (0.6931, array([[-0.5 ,  0.25,  0.25]]))
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets have the shape {targets.shape} for logits of {logits.shape}; expected "
            f"{logits.shape[:-1]}"
        )
    V = logits.shape[-1]
    if not targets.size or not 0 <= targets.max() < V:
        came = f"{targets.min()} to {targets.max()}" if targets.size else "none"
        raise ValueError(f"expected targets from 0 to {V - 1}, at least one, got {came}")
    if targets.dtype.kind == "i" and targets.min() < 0:
        there = targets >= 0
        loss, found = softmax_cross_entropy(logits[there], targets[there], count=count)
        dlogits = np.empty_like(logits) if out is None else out
        dlogits[...] = 0
        dlogits[there] = found
        return loss, dlogits
    rows = logits.reshape(-1, V)  # (m, V)
    m = rows.shape[0]
    n = m if count is None else count
    picked = np.arange(m), targets.reshape(-1)
    shifted = None if out is None else out.reshape(-1, V)
    shifted = np.subtract(rows, rows.real.max(axis=1, keepdims=True), out=shifted)  # no overflow
    at_targets = shifted[picked]  # (m,)
    dlogits = np.exp(shifted, out=shifted)  # (m, V); in place, to save a copy of a large array
    total = np.dot(dlogits, np.ones(V, rows.dtype))  # (m,): a sum, by BLAS
    loss = (np.log(total) - at_targets).sum() / rows.dtype.type(n)
    dlogits *= (1 / (n * total))[:, None]
    dlogits[picked] -= dlogits.dtype.type(1 / n)
    return loss, dlogits.reshape(logits.shape)


def mean_squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """The mean squared error, and its gradient with respect to the outputs.

    Parameters
    ----------
    outputs
        The predicted numbers, of any shape. They can be complex, as in the gradient check.
    targets
        The true numbers, of the same shape.

    Returns
    -------
    loss
        A scalar: the mean of (outputs − targets)² over all numbers.
    doutputs
        2 (outputs − targets) / outputs.size: the gradient with respect to `outputs`.

    Raises
    ------
    ValueError
        If the shapes differ, the arrays are empty, or the outputs are not floating-point numbers.

    Examples
    --------
    >>> loss, doutputs = npchar.mean_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> float(loss), doutputs.tolist()
    (2.0, [0.0, -2.0])
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if outputs.shape != targets.shape or not outputs.size or outputs.dtype.kind not in "fc":
        raise ValueError(
            "expected non-empty floating-point outputs and targets of the same shape, got "
            f"{outputs.dtype} {outputs.shape} and {targets.dtype} {targets.shape}"
        )
    difference = outputs - targets
    return (difference**2).mean(), 2 / difference.size * difference


def log_probabilities(logits: Array, ids: Array) -> Array:
    """The log-probabilities of ids under softmax(logits), in nats.

    Parameters
    ----------
    logits
        (..., V).
    ids
        (...).

    Returns
    -------
    Array
        (...), in the dtype of the logits.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, ids[..., None].astype(np.intp), axis=-1)[..., 0]
    result: Array = picked - np.log(np.exp(shifted).sum(axis=-1))
    return result

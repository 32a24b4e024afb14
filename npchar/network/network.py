"""A stack of layers as one function, from ids to logits, a loss and its gradients.

A network has recurrent or convolutional layers (``layers/layer.py``) and an output layer, on views
of one flat parameter vector. Its input is ids. ``model.py`` combines a network with a vocabulary,
``training/step.py`` trains it, and ``network/long_text.py`` reads long texts with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npchar.arguments import require_number, require_positive
from npchar.arrays import Array
from npchar.fast.dense import FastDense
from npchar.layers.dense import Dense
from npchar.layers.layer import AnyLayer, AnyTape
from npchar.layers.loss import softmax_cross_entropy
from npchar.layers.parameters import Parameters
from npchar.network.registry import FAST, PLAIN

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

AnyState = Any  # a named tuple of arrays: each kind of layer defines its own
States = list[AnyState]  # one state per layer
# Steps times sequences of a pass over a text: larger passes need more memory and are not faster.
# Each pass prepares the weights again, so a pass should have several steps.
AT_ONCE, FEWEST_STEPS = 1024, 8
NEW_SYMBOL_BIAS = -3.0  # nats, relative to the lowest bias: new symbols are improbable at first


class NetworkConfig(NamedTuple):
    """The configuration of a network: its sizes, its kind of layer, and its dropout rates."""

    vocabulary_size: int
    hidden_size: int
    num_layers: int
    dropout: float
    layer: str = "lstm"
    recurrent_dropout: float = 0.0

    def checked(self) -> NetworkConfig:
        """Return the configuration with Python numbers; raise a ValueError if it is invalid."""
        if self.layer not in FAST:
            raise ValueError(f"layer is {self.layer!r}; expected one of {', '.join(FAST)}")
        require_positive(hidden_size=self.hidden_size, num_layers=self.num_layers)
        for name in ("dropout", "recurrent_dropout"):
            require_number(name, getattr(self, name), zero=True, below=1)
        if self.recurrent_dropout and "Wh" not in FAST[self.layer].shapes(1, 1):
            raise ValueError(
                f"recurrent_dropout is {self.recurrent_dropout!r}; expected 0, because "
                f"{self.layer!r} layers have no recurrent weights; use dropout"
            )
        return self._replace(
            hidden_size=int(self.hidden_size),
            num_layers=int(self.num_layers),
            dropout=float(self.dropout),
            recurrent_dropout=float(self.recurrent_dropout),
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of all arrays, from the input to the output."""
        V, H = self.vocabulary_size, self.hidden_size
        shapes = {}
        for k in range(self.num_layers):
            for name, shape in FAST[self.layer].shapes(V if k == 0 else H, H).items():
                shapes[f"{self.layer}{k}.{name}"] = shape
        for name, shape in Dense.shapes(H, V).items():
            shapes[f"dense.{name}"] = shape
        return shapes


class Gradients(NamedTuple):
    """A loss and its gradients."""

    loss: Array  # a scalar
    parameters: Parameters
    inputs: Array | None  # (T, B, V); None for ids
    states: States  # with respect to the initial state of each layer


class Network:
    """A stack of layers and an output layer, on one parameter vector.

    Parameters
    ----------
    config
        The sizes and the kind of layer.
    parameters
        The weights, with the shapes `config.shapes()`. They are not copied. Default: zeros.
    dtype
        The dtype of the weights, if `parameters` is None.
    layer_class
        The class of the layers. Default: the fast class for `config.layer`.
    """

    def __init__(
        self,
        config: NetworkConfig,
        parameters: Parameters | None = None,
        dtype: DTypeLike = "float32",
        layer_class: type[AnyLayer] | None = None,
    ) -> None:
        self.config = config = config.checked()
        self.parameters = Parameters(config.shapes(), dtype) if parameters is None else parameters
        self.epochs_trained = 0
        """The number of epochs of training in all calls of `Model.fit`."""
        self.layer_class = FAST[config.layer] if layer_class is None else layer_class
        self.layers = []
        for k in range(config.num_layers):
            layer = self.layer_class(**self.parameters.part(f"{config.layer}{k}"))
            layer.depth = k
            self.layers.append(layer)
        self.dense = FastDense(**self.parameters.part("dense"))

    def initialise(self, seed: int) -> None:
        """Fill the weights with the initial values of each layer."""
        rng = np.random.default_rng(seed)
        for layer in self.layers:
            layer.initialise(rng)
        self.dense.initialise(rng)

    def astype(self, dtype: DTypeLike) -> Network:
        """Create a copy with weights of another dtype."""
        with np.errstate(under="ignore"):
            flat = self.parameters.flat.astype(dtype)
        parameters = Parameters(self.parameters.shapes, flat=flat)
        return Network(self.config, parameters, layer_class=self.layer_class)

    def plain(self) -> Network:
        """Create a network of plain layers on the same parameters."""
        return Network(self.config, self.parameters, layer_class=PLAIN[self.config.layer])

    def extended(self, vocabulary_size: int, places: Array) -> Network:
        """Create a copy with more symbols and the same predictions for the old symbols.

        The input weights of a new symbol are the mean over the old symbols. Its logit is a low
        constant, so that a new symbol has almost no probability before training.

        Parameters
        ----------
        vocabulary_size
            The number of symbols of the copy.
        places
            The new ids of the old symbols, (V,).
        """
        config = self.config._replace(vocabulary_size=vocabulary_size)
        network = Network(config, dtype=self.parameters.flat.dtype)
        for name, new in network.parameters.items():
            old = self.parameters[name]
            if new.shape == old.shape:
                new[...] = old
                continue
            # The output layer has symbols on its last axis, the input weights on the axis before.
            axis = -1 if name.startswith("dense.") else -2
            new[...] = 0 if axis == -1 else old.mean(axis=axis, keepdims=True)
            if name == "dense.b":
                new[...] = old.min() + NEW_SYMBOL_BIAS
            np.moveaxis(new, axis, 0)[places] = np.moveaxis(old, axis, 0)
        return network

    def require_finite(self) -> None:
        """Raise a ValueError if a weight is not a finite number."""
        wrong = [name for name, array in self.parameters.items() if not np.isfinite(array).all()]
        if wrong:
            raise ValueError(
                f"expected finite weights, got NaN or infinity in {', '.join(wrong)}; load a model "
                "that was saved earlier, or train a new one"
            )

    @property
    def receptive_field(self) -> int | None:
        """The number of characters that a prediction depends on; None if it depends on all."""
        reaches = [layer.reach for layer in self.layers]
        return None if None in reaches else 1 + sum(reach or 0 for reach in reaches)

    def tapes(self, T: int, B: int) -> list[AnyTape]:
        """Create buffers for passes over T steps of B sequences, one for each layer."""
        return [layer.tape(T, B) for layer in self.layers]

    def zero_states(self, B: int) -> States:
        """The initial state of each layer for B sequences."""
        return [layer.zero_state(B) for layer in self.layers]

    def dropout_masks(self, B: int, seed: int) -> list[Array]:
        """Random masks by which the outputs of each layer are multiplied, (1, B, H) each.

        A fraction `dropout` of each mask is 0 and all other numbers are 1 / (1 − dropout), which
        preserves the expected value (Srivastava et al. 2014). All steps of a sequence use the same
        mask (Gal & Ghahramani 2016). Without dropout, the list is empty.
        """
        keep = 1 - self.config.dropout
        if keep == 1:
            return []
        rng = np.random.default_rng(seed)
        dtype = self.parameters.flat.dtype
        return [
            (rng.random((1, B, self.config.hidden_size), np.float32) < keep) / dtype.type(keep)
            for _ in self.layers
        ]

    def weights_mask(self, seed: int) -> Array | None:
        """A random mask by which the flat weights and their gradient are multiplied.

        A fraction `recurrent_dropout` of the recurrent weights has a mask of 0, and the others
        1 / (1 − recurrent_dropout). This is DropConnect (Wan et al. 2013) on the recurrent weights
        (Merity et al. 2018). All other weights have a mask of 1. None without recurrent dropout.
        """
        keep = 1 - self.config.recurrent_dropout
        if keep == 1:
            return None
        rng = np.random.default_rng([seed, 1])  # independent of dropout_masks
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
        states: States | None = None,
        tapes: Sequence[AnyTape] | None = None,
        masks: Sequence[Array] = (),
    ) -> tuple[Array, list[AnyTape]]:
        """Run the layers over T steps.

        Parameters
        ----------
        x
            Ids, (T, B), or vectors, (T, B, V).
        states
            The initial state of each layer. Default: zeros.
        tapes
            Tapes to overwrite: the result of `tapes(T, B)`.
        masks
            The result of `dropout_masks`, during training.

        Returns
        -------
        outputs, tapes
            The outputs of the top layer after dropout, (T, B, H), and the tape of each layer.
        """
        results: list[AnyTape] = []
        for k, layer in enumerate(self.layers):
            state = None if states is None else states[k]
            results.append(layer.forward(x, state, None if tapes is None else tapes[k]))
            x = results[k].outputs
            if masks:
                x = x * masks[k]
        return x, results

    def read(
        self, x: Array, states: States | None = None, length: int | None = None
    ) -> Iterator[tuple[int, Array, list[AnyTape]]]:
        """Run over a long text, `length` steps at a time, to save memory.

        Yields
        ------
        start, outputs, tapes
            The index of the first step, and the result of `forward` for these steps. The next
            iteration overwrites this result.
        """
        length = max(FEWEST_STEPS, AT_ONCE // x.shape[1]) if length is None else length
        tapes: list[AnyTape] = []
        for start in range(0, len(x), length):
            part = x[start : start + length]
            if not tapes or len(part) < length:
                tapes = self.tapes(*part.shape[:2])
            outputs, tapes = self.forward(part, states, tapes)
            yield start, outputs, tapes
            states = [tape.final_state for tape in tapes]

    def logits(self, x: Array, states: States | None = None) -> tuple[Array, States]:
        """Logits after each character, (T, B, V), and the final state of each layer."""
        outputs, tapes = self.forward(x, states)
        return self.dense.forward(outputs), [tape.final_state for tape in tapes]

    def stepper(self, states: States) -> Callable[[Array], Array]:
        """Create a function that runs one step, from ids, (B,), to logits, (B, V).

        The function starts from `states`, uses a copy of the weights, and keeps its state between
        calls.
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

    def loss(self, x: Array, targets: Array, states: States | None = None) -> Array:
        """The mean cross-entropy, without dropout: a scalar, nats per character.

        Parameters
        ----------
        x, states
            As for `forward`.
        targets
            The ids to predict: (T, B) after every character, or (B,) only after the last one.
        """
        outputs, _ = self.forward(x, states)
        logits = self.dense.forward(outputs if targets.ndim == 2 else outputs[-1])
        return softmax_cross_entropy(logits, targets)[0]

    def gradients(
        self,
        x: Array,
        targets: Array,
        states: States | None = None,
        tapes: Sequence[AnyTape] | None = None,
        masks: Sequence[Array] = (),
        gradient: Network | None = None,
        count: int | None = None,
    ) -> Gradients:
        """The loss and its gradients with respect to parameters, input vectors and states.

        Parameters
        ----------
        x, states, tapes, masks
            As for `forward`.
        targets
            As for `loss`.
        gradient
            A network of the same sizes. Its parameters are overwritten with the gradient.
            Default: a new network.
        count
            The number of targets to divide by, if `targets` has only part of a batch.
        """
        if gradient is None:
            gradient = Network(self.config, self.parameters.zeros_like())
        outputs, tapes = self.forward(x, states, tapes, masks)
        h = outputs if targets.ndim == 2 else outputs[-1]
        loss, dh = self.dense.cross_entropy(h, targets, gradient.dense, count)

        dstates: States = []
        dx: Array | None = dh
        for k in reversed(range(len(self.layers))):
            if masks:
                assert dx is not None
                dx *= masks[k] if dx.ndim == 3 else masks[k][0]
            dx, dstate = self.layers[k].backward(tapes[k], dx, None, gradient.layers[k])
            dstates.insert(0, dstate)
        return Gradients(loss, gradient.parameters, dx, dstates)


def require_batch(ids: Array, targets: Array, V: int) -> None:
    """Raise a ValueError unless ids are (T, B), targets (T, B) or (B,), and all below V."""
    are_ids = ids.size and ids.dtype.kind in "iu" and targets.dtype.kind in "iu"
    if not are_ids or ids.ndim != 2 or targets.shape not in (ids.shape, ids.shape[1:]):
        raise ValueError(
            "expected non-empty integer ids of the shape (T, B), and targets of the shape (T, B) "
            f"or (B,), got {ids.dtype} of the shape {ids.shape} and {targets.dtype} of the shape "
            f"{targets.shape}"
        )
    for name, numbers in (("ids", ids), ("targets", targets)):
        if not 0 <= numbers.min() <= numbers.max() < V:
            raise ValueError(
                f"expected {name} from 0 to {V - 1}, got {numbers.min()} to {numbers.max()}"
            )

"""Networks of your own, from npchar's layers: no text, no vocabulary, no `Model`.

    python examples/own-network.py          twenty seconds

Two problems of another kind. **Classification**: which of three shapes a noisy wave has,
from its last hidden state. **Regression**: the next value of a sine of any frequency, at
every step; then the network goes on alone, each prediction its next input.

Both are a recurrent layer and a Dense layer on one flat vector of parameters; a step of
training is forward, loss, backward, clip, update.
"""

import os

# One thread for products this small: several wait for each other. NumPy reads it when loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import npchar

T, B = 40, 32  # steps and sequences of a batch
SHAPES = ("sine", "square", "sawtooth")


def waves(rng, shapes, noise):
    """Waves, (T, B, 1), of the given shapes, (B,), with any frequency and phase."""
    turns = rng.uniform(0.02, 0.08, B) * np.arange(T)[:, None] + rng.uniform(0, 1, B)  # (T, B)
    sine = np.sin(2 * np.pi * turns)
    kinds = np.stack([sine, np.sign(sine), 2 * (turns % 1) - 1])  # (3, T, B)
    wave = kinds[shapes, :, np.arange(B)].T  # (T, B)
    return (wave + noise * rng.normal(size=wave.shape))[..., None].astype(np.float32)


class Network:
    """A recurrent layer and a Dense layer, whose arrays lie on one vector."""

    def __init__(self, kind, inputs, hidden, outputs):
        self.kind = kind
        self.parameters = npchar.Parameters.of(
            layer=kind.shapes(inputs, hidden), dense=npchar.Dense.shapes(hidden, outputs)
        )
        self.gradient = self.parameters.zeros_like()
        self.optimizer = npchar.RMSprop()
        self.layer, self.dense = self.layers_on(self.parameters)
        rng = np.random.default_rng(0)
        self.layer.initialise(rng)
        self.dense.initialise(rng)

    def layers_on(self, arrays):
        """The two layers, of the weights or of a gradient."""
        return self.kind(**arrays.part("layer")), npchar.Dense(**arrays.part("dense"))

    def train_step(self, x, targets, loss_function, rate):
        """One step on a batch; returns its loss. (B,) targets are for the last step alone."""
        into_layer, into_dense = self.layers_on(self.gradient)
        tape = self.layer.forward(x)
        h = tape.outputs[-1] if targets.ndim == 1 else tape.outputs
        loss, doutputs = loss_function(self.dense.forward(h), targets)
        dh = self.dense.backward(h, doutputs, into_dense)
        self.layer.backward(tape, dh, None, into_layer)

        npchar.clip_by_global_norm(self.gradient.flat, 1.0)
        self.optimizer.update(self.parameters.flat, self.gradient.flat, rate)
        return float(loss)


def classify(steps=500):
    """Tell the shape of a wave; the share of new waves that it is right about."""
    rng = np.random.default_rng(1)
    network = Network(npchar.FastGRU, 1, 32, len(SHAPES))
    for step in range(steps):
        shapes = rng.integers(0, len(SHAPES), B)
        x = waves(rng, shapes, noise=0.3)
        loss = network.train_step(x, shapes, npchar.softmax_cross_entropy, 0.005)
        if step % 100 == 99:
            print(f"  step {step + 1}: loss {loss:.3f}", flush=True)
    right = []
    for _ in range(20):
        shapes = rng.integers(0, len(SHAPES), B)
        h = network.layer.forward(waves(rng, shapes, noise=0.3)).outputs[-1]
        right.append(network.dense.forward(h).argmax(axis=1) == shapes)
    return np.mean(right)


def continue_sines(steps=4000):
    """Predict a sine's next value; the error of twenty steps that the network goes on alone."""
    rng = np.random.default_rng(2)
    network = Network(npchar.FastLSTM, 1, 32, 1)
    sines = np.zeros(B, int)
    for step in range(steps):
        wave = waves(rng, sines, noise=0.0)
        rate = 0.01 * (1 - step / steps)
        loss = network.train_step(wave[:-1], wave[1:], npchar.mean_squared_error, rate)
        if step % 500 == 499:
            print(f"  step {step + 1}: mean squared error {loss:.5f}", flush=True)
    wave = waves(rng, sines, noise=0.0)
    tape = network.layer.forward(wave[: T // 2])
    x = network.dense.forward(tape.outputs[-1])  # (B, 1), the first prediction
    stepper = network.layer.stepper(tape.final_state, network.dense)
    errors = []
    for true in wave[T // 2 :]:
        errors.append(np.abs(x - true).mean())
        x = stepper.step(x).copy()  # it is valid until the next step only
    return np.array(errors)


def main():
    """Run both, and check a layer's gradients."""
    print("Which shape does a noisy wave have? A GRU classifies it.")
    share = classify()
    print(f"  right about {share:.0%} of new waves; guessing would be right for 33%")
    print("What comes next in a sine? An LSTM predicts it.")
    errors = continue_sines()
    print(f"  going on alone it is off by {errors[0]:.3f} after a step, {errors[-1]:.3f} after 20")
    print("The gradients of a layer alone:")
    print(npchar.check_gradients(npchar.FastGRU.create(3, 5, dtype="float64"), verbose=False))


if __name__ == "__main__":
    main()

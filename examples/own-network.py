"""Custom networks from npchar's layers, without text, vocabulary or `Model`.

    python examples/own-network.py          twenty seconds

The example solves two problems. **Classification**: a GRU recognizes the shape of a noisy wave
(sine, square or sawtooth) from its last hidden state. **Regression**: an LSTM predicts the next
value of a sine of any frequency at every step. It then continues the sine for 20 steps with its own
predictions as inputs.

Both networks have a recurrent layer and a Dense layer, whose parameters share one flat vector. A
training step is forward, loss, backward, clip, update.
"""

import os

# One thread is faster for matrices this small. NumPy reads the variable when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import npchar

T, B = 40, 32  # steps and sequences in a batch
SHAPES = ("sine", "square", "sawtooth")


def waves(rng, shapes, noise):
    """Waves, (T, B, 1), of the given shapes, (B,), with random frequencies and phases."""
    turns = rng.uniform(0.02, 0.08, B) * np.arange(T)[:, None] + rng.uniform(0, 1, B)  # (T, B)
    sine = np.sin(2 * np.pi * turns)
    kinds = np.stack([sine, np.sign(sine), 2 * (turns % 1) - 1])  # (3, T, B)
    wave = kinds[shapes, :, np.arange(B)].T  # (T, B)
    return (wave + noise * rng.normal(size=wave.shape))[..., None].astype(np.float32)


class Network:
    """A recurrent layer and a Dense layer, whose arrays are views of one vector."""

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
        """The two layers on a vector of weights or of gradients."""
        return self.kind(**arrays.part("layer")), npchar.Dense(**arrays.part("dense"))

    def train_step(self, x, targets, loss_function, rate):
        """Train on a batch and return its loss; targets of shape (B,) are for the last step."""
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
    """Train a classifier of wave shapes; return its accuracy on new waves."""
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
    """Train a predictor of sines; return the errors of 20 steps without true inputs, (3, 20).

    The rows are the mean absolute errors of the network and of two baselines: the last true value
    repeated, and zero. A linear model that reads two values would be exact, as a sine without noise
    follows x(t+1) = 2 cos(ω) x(t) − x(t−1), but the network has to infer ω from its inputs.
    """
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
    last = wave[T // 2 - 1]
    errors = []
    for true in wave[T // 2 :]:
        errors.append([np.abs(guess - true).mean() for guess in (x, last, 0)])
        x = stepper.step(x).copy()  # the stepper reuses its output array
    return np.transpose(errors)


def main():
    """Solve both problems and check the gradients of one layer."""
    print("Classification: a GRU recognizes the shape of a noisy wave.")
    share = classify()
    print(f"  accuracy on new waves: {share:.0%} (chance: 33%)")
    print("Regression: an LSTM predicts the next value of a sine.")
    results = continue_sines()
    print("  mean absolute error after 1 and 20 steps without true inputs:")
    for name, errors in zip(("LSTM", "last value", "zero"), results):
        print(f"    {name:10} {errors[0]:.3f} {errors[-1]:.3f}")
    print("Gradients of a single layer:")
    print(npchar.check_gradients(npchar.FastGRU.create(3, 5, dtype="float64"), verbose=False))


if __name__ == "__main__":
    main()

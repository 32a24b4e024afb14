"""Write ``golden.npz``: the results of Keras 3.15.1 and PyTorch 2.13.0 for the test cases.

pip install keras==3.15.1 tensorflow-cpu torch==2.13.0
KERAS_BACKEND=tensorflow python tests/make_golden.py
"""

from pathlib import Path

import keras
import numpy as np
import peers
import torch

keras.config.set_floatx("float64")
golden = {"versions": np.array([f"keras {keras.__version__}", f"torch {torch.__version__}"])}
for peer, function, layers in (
    ("keras", peers.keras_loss_and_gradient, ("lstm",)),
    ("torch", peers.torch_loss_and_gradient, ("lstm", "gru", "rnn", "conv")),
):
    for layer in layers:
        for num_layers in (1, 2):
            for targets in ("all", "last"):
                case = peers.random_case(num_layers, targets, layer=layer)
                loss, gradient = function(*case)
                start = peers.golden_start(peer, layer, num_layers, targets)
                golden[f"{start}loss"] = np.float64(loss)
                golden |= {f"{start}{name}": array for name, array in gradient.items()}
losses, weights = peers.keras_trajectory(*peers.random_case(1, "all"))
golden["rmsprop-losses"] = np.array(losses)
golden |= {f"rmsprop-{name}": array for name, array in weights.items()}
np.savez_compressed(Path(__file__).with_name("golden.npz"), **golden)

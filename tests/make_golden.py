"""Write ``golden.npz``: what Keras 3.15.1 and PyTorch 2.13.0 make of the test cases.

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
for num_layers in (1, 2):
    for targets in ("all", "last"):
        case = peers.random_case(num_layers, targets)
        for peer, function in (
            ("keras", peers.keras_loss_and_gradient),
            ("torch", peers.torch_loss_and_gradient),
        ):
            loss, gradient = function(*case)
            start = f"{peer}-{num_layers}-{targets}"
            golden[f"{start}-loss"] = np.float64(loss)
            golden |= {f"{start}-{name}": array for name, array in gradient.items()}
losses, weights = peers.keras_trajectory(*peers.random_case(1, "all"))
golden["rmsprop-losses"] = np.array(losses)
golden |= {f"rmsprop-{name}": array for name, array in weights.items()}
np.savez_compressed(Path(__file__).with_name("golden.npz"), **golden)

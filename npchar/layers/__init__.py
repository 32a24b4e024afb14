"""Layers: forward, backpropagation through time, the loss, and gradient checks."""

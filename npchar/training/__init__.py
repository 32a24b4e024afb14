"""Training: gradients to better weights, by one process or several, watched over and kept."""

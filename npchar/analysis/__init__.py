"""Analysis: scores of a text, activations inside a model, originality, and their display."""

"""Text: loading it, its vocabulary, ids and windows, n-gram baselines, and checks of it."""

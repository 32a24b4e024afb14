"""The version, in a room of its own so that all others can see it."""

__version__ = "0.1.0"

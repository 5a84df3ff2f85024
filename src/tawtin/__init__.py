"""The control plane of one AI factory, and its place in a network of factories that nobody owns."""

__version__ = "0.1.0"

"""Untrusted specs become model records here, once."""

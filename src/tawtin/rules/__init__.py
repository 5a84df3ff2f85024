"""Residency rule packs: reading them. What they mean is in `core.residency`."""

"""The shells that drive the core: live, simulated, and as a dry run."""

"""Runs work on a Ray cluster: one submitted job a run, its folder on a file system that the nodes share."""

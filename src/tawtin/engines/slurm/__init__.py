"""Runs work on a Slurm cluster: one batch job a run, its folder on a file system that the nodes share."""

"""The engine for one machine: a supervisor and a sandbox for each run."""

"""Runs work on a Kubernetes cluster: one Indexed Job a run, its folder on a volume that the factory sees as well."""

"""The partition benchmark's parts: one schedule of faults, what ran under it, ours, and the models of two peers."""

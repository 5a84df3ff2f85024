"""The pure core: decides and folds. No I/O, no clock, no randomness; `now` and `seed` are arguments."""

"""The demonstration: a factory in Casablanca that does real work, is killed, and loses nothing. `make demo`."""

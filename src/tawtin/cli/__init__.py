"""The `tawtin` command, one file a verb group."""

"""How factories speak with each other: identity, signed HTTP, and what is refused before anything is read."""

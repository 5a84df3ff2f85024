"""The factory's HTTP face: API and authentication."""

"""What really runs work, one folder an engine."""

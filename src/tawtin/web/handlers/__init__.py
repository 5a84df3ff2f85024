"""What each route does: read the request, ask the service, answer. Docstrings are the summaries that users read."""

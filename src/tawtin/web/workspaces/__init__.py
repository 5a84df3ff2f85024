"""The way to workspaces: a reverse proxy that gives each of them an origin of its own."""

"""The clients and the command `predict` with a real server."""

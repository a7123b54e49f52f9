"""Hostile and generated requests to a real server."""

"""Predicts whole files: here, by a server, or on Ray."""

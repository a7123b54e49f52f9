"""Comparison with other servers: the same checkpoint, served by each and measured by turns."""

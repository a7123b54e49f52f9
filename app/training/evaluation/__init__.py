"""Measures a checkpoint on labelled ads and writes the report."""

"""Load generator and engine measurement."""

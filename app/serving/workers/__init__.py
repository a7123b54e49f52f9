"""Several processes of one machine."""

"""Several machines, on Ray Serve."""

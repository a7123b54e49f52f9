"""`POST /classify/stream`: any number of ads, a line each, answered while they arrive."""

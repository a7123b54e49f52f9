"""Measuring: a load generator for a running service, and the engine alone beside the matmul."""

"""Admission, lanes, micro-batcher, watchdog: no torch, no HTTP."""

"""The peers' servers; each runs in an environment of its own, where this package is not installed.

They take an ad as `{"text": ...}` and answer with both heads' best labels.
"""

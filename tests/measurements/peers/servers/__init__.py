"""The servers of the peers. Each runs in its own environment, without this project's dependencies.

They take an ad as `{"text": ...}` and answer with the best label of both heads.
"""

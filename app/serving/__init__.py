"""The online service: admission, batching, inference, and the HTTP API in front of them."""

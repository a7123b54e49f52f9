"""One process on one address: HTTP connections, sockets, graceful shutdown."""

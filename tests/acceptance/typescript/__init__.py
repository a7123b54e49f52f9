"""A generated TypeScript client with a real server."""

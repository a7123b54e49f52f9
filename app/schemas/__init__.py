"""The JSON that client and server exchange."""

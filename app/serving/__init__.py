"""The online service: one process, several processes of a machine, or a cluster."""

"""How it travels: the seam, the in-memory double, NATS, and the embedded server."""

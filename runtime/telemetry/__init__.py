"""What was seen: a light tracer, its names, and the feed that carries spans and logs to the bus and outside."""

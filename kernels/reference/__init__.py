"""The same operations in plain torch: the meaning of each op, and its production path on a CPU."""

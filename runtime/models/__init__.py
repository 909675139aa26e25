"""Who thinks: one seam, and adapters for local, remote, HTTP and scripted instances."""

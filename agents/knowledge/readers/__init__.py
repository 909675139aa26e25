"""Documents to sections, one module a format."""

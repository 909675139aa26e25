"""Model families, each computed from a config and weights."""

"""Ways of working together that deserve code: the rest is ``ctx`` itself, shown in ``docs/patterns.md``."""

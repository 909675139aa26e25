"""One pattern, one file: what it looks for, its guards, what its remedy would save."""

"""What `antiphon doctor` looks at."""

"""What was seen, kept: one SQLite file, one writer, any number of readers."""

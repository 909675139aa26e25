"""What is said: every message, header and record that crosses a process border. Imports pydantic only."""

"""Doors for those who speak another protocol: HTTP, MCP."""

"""MCP both ways: tools of other people's servers for our agents, and our agents' handlers for other people's clients.

Defining agents needs no ``mcp`` package: ``remote`` loads what does when a node starts.
"""

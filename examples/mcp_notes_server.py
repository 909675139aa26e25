"""A tiny MCP server, made with the official package: notes that can be searched and added to."""

from mcp.server import MCPServer

server = MCPServer("notes")
notes = [
    "Air scatters short waves of sunlight more than long ones (Rayleigh), so the sky looks blue.",
    "Water absorbs red light first, so deep clear water looks blue.",
]


@server.tool()
def search_notes(word: str) -> list[str]:
    """Notes that have the word in them."""
    return [note for note in notes if word.lower() in note.lower()]


@server.tool()
def add_note(text: str) -> int:
    """Keep a note; returns how many there are now."""
    notes.append(text)
    return len(notes)


if __name__ == "__main__":
    server.run()

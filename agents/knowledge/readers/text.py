"""Plain text: one section."""

from antiphon.agents.knowledge.sections import Section


def read_text(text: str) -> list[Section]:
    """The whole text, with its lines."""
    return [Section(heading=(), text=text, first_line=1, last_line=text.count("\n") + 1)]

"""Markdown to sections: CommonMark decides what is a heading, so that a ``#`` in a code block is none."""

from antiphon.agents.knowledge.sections import Section


def read_markdown(text: str) -> list[Section]:
    """A section for each heading that has text, and one for what stands before the first."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(text)
    lines = text.split("\n")
    sections: list[Section] = []
    path: list[tuple[int, str]] = []  # level and title of the headings above
    start = 0  # of the open section's text, a line counted from 0

    def close(end: int) -> None:
        first, last = start, end
        while first < last and not lines[first].strip():
            first += 1
        while first < last and not lines[last - 1].strip():
            last -= 1
        if first < last:
            heading = tuple(title for _, title in path)
            body = "\n".join(lines[first:last])
            sections.append(Section(heading=heading, text=body, first_line=first + 1, last_line=last))

    for index, token in enumerate(tokens):
        if token.type != "heading_open" or token.map is None or token.level:  # a heading in a quote or list is text
            continue
        close(token.map[0])
        level = int(token.tag[1:])
        while path and path[-1][0] >= level:
            path.pop()
        path.append((level, _plain(tokens[index + 1].content)))
        start = token.map[1]
    close(len(lines))
    return sections


def _plain(title: str) -> str:
    return title.replace("`", "").replace("**", "").strip()

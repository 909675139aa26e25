"""HTML to sections: the text that a person would see, under its headings."""

import re
from typing import TYPE_CHECKING, Final

from antiphon.agents.knowledge.sections import Section

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_UNSEEN: Final = ("script", "style", "noscript", "template", "svg", "nav", "iframe")
_BLOCK: Final = re.compile(
    "address|article|aside|blockquote|br|dd|details|div|dl|dt|figcaption|figure|footer|form|h[1-6]|header|hr|li|main|ol"
    "|p|pre|section|summary|table|tbody|td|tfoot|th|thead|tr|ul"
)


def read_html(text: str) -> list[Section]:
    """A section for each heading that has text, and one for what stands before the first. It has no lines."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    if tree.body is None:
        return []
    title = tree.css_first("head title")
    name = _squeezed(title.text()) if title is not None else ""
    tree.strip_tags(list(_UNSEEN))
    preformatted = {node.mem_id for pre in tree.css("pre") for node in pre.traverse(include_text=True)}
    titles = {
        node.mem_id
        for heading in tree.css("h1,h2,h3,h4,h5,h6")
        for node in heading.traverse(include_text=True)
        if node is not heading
    }
    sections: list[Section] = []
    path: list[tuple[int, str]] = []  # level and title of the headings above
    parts: list[str] = []

    def close() -> None:
        body = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", "".join(parts))).strip()
        parts.clear()
        if body:
            headings = tuple(heading for _, heading in path) or ((name,) if name else ())
            sections.append(Section(heading=headings, text=body))

    for node in tree.body.traverse(include_text=True):
        tag = node.tag or ""
        if re.fullmatch(r"h[1-6]", tag):
            close()
            level = int(tag[1])
            while path and path[-1][0] >= level:
                path.pop()
            path.append((level, _squeezed(node.text())))
        elif node.mem_id in titles:
            continue
        elif _is_block(node) or (node.prev is not None and _is_block(node.prev)):
            parts.append("\n\n" if tag == "p" else "\n")
        if tag == "-text":
            found = node.text_content or ""
            if node.mem_id not in preformatted:
                found = re.sub(r"\s+", " ", found)
                found = found.lstrip() if not parts or parts[-1].endswith("\n") else found
            if found:
                parts.append(found)
    close()
    return sections


def _is_block(node: "LexborNode") -> bool:
    return _BLOCK.fullmatch(node.tag or "") is not None


def _squeezed(text: str) -> str:
    return " ".join(text.split())

"""What readers make of documents."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Section:
    """The text under one heading, without that of the headings below it.

    ``heading`` is the path from the document's title down. Lines count from 1; both are 0 where the format has none.
    """

    heading: tuple[str, ...]
    text: str
    first_line: int = 0
    last_line: int = 0

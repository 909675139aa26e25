"""Sections to chunks."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.knowledge.chunks import chunks_of
from antiphon.agents.knowledge.sections import Section

TEXT = "First paragraph.\n\nSecond one,\nof two lines.\n\nThird."


def section(text: str, *heading: str, line: int = 1) -> Section:
    """A section that begins at a line of its document."""
    return Section(heading=heading, text=text, first_line=line, last_line=line + text.count("\n"))


def test_a_short_section_is_one_chunk() -> None:
    """With its headings in front of what is embedded."""
    (chunk,) = chunks_of("a.md", [section(TEXT, "Guide", "Start", line=5)])
    assert (chunk.source, chunk.heading, chunk.text) == ("a.md", ("Guide", "Start"), TEXT)
    assert (chunk.first_line, chunk.last_line) == (5, 10)
    assert chunk.embedded_text == f"Guide > Start\n{TEXT}"


def test_a_long_section_is_cut_between_paragraphs() -> None:
    """Each chunk knows its lines, and no paragraph that fits is torn."""
    chunks = chunks_of("a.md", [section(TEXT, line=5)], most_chars=30)
    assert [(each.text, each.first_line, each.last_line) for each in chunks] == [
        ("First paragraph.", 5, 5),
        ("Second one,\nof two lines.", 7, 8),
        ("Third.", 10, 10),
    ]


def test_a_long_line_is_cut_between_words() -> None:
    """And a word that is too long where it must be."""
    chunks = chunks_of("a.md", [section("one two three " + "x" * 25)], most_chars=11)
    assert [each.text for each in chunks] == ["one two", "three", "x" * 10, "x" * 10, "x" * 5]
    assert {each.first_line for each in chunks} == {1}


def test_a_format_without_lines_has_none() -> None:
    """0 and 0."""
    (chunk,) = chunks_of("a.pdf", [Section(heading=("page 1",), text="x")])
    assert (chunk.first_line, chunk.last_line) == (0, 0)


def test_an_id_follows_from_what_the_chunk_says_and_where() -> None:
    """Not from its place: a chunk that moved is the same; another document, heading or text is another."""
    (one,) = chunks_of("a.md", [section("x", "A", line=1)])
    (moved,) = chunks_of("a.md", [section("x", "A", line=9)])
    assert one.id == moved.id
    others = [("b.md", section("x", "A")), ("a.md", section("x", "B")), ("a.md", section("y", "A"))]
    ids = {chunks_of(source, [each])[0].id for source, each in others}
    assert len(ids | {one.id}) == 4


def test_the_same_text_twice_is_two_chunks() -> None:
    """Else the second would vanish."""
    ids = [each.id for each in chunks_of("a.md", [section("x", "A"), section("x", "A", line=5)])]
    assert len(set(ids)) == 2


@given(
    text=st.text(alphabet=st.sampled_from("ab \n\t."), max_size=300),
    most_chars=st.integers(min_value=2, max_value=40),
)
def test_nothing_is_lost_and_nothing_is_too_long(text: str, most_chars: int) -> None:
    """Whatever the text: every word is in a chunk, in order; ids differ; lines are those of the text."""
    chunks = chunks_of("a.txt", [section(text)], most_chars=most_chars)
    assert "".join("".join(each.text.split()) for each in chunks) == "".join(text.split())
    assert all(0 < len(each.text) <= most_chars and each.text.strip() for each in chunks)
    assert len({each.id for each in chunks}) == len(chunks)
    lines = text.split("\n")
    for each in chunks:
        assert 1 <= each.first_line <= each.last_line <= len(lines)
        assert lines[each.first_line - 1].strip() and lines[each.last_line - 1].strip()

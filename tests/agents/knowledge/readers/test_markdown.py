"""Markdown to sections."""

from antiphon.agents.knowledge.readers.markdown import read_markdown

TEXT = """before

# Guide

intro
more

## `code` and **bold**

```
# no heading
```

Underlined
----------

- # in a list
> # in a quote

### Empty

# Second

end
"""


def test_a_section_for_each_heading() -> None:
    """With the headings above, and the lines where its text is; none for a heading without text."""
    found = [(each.heading, each.first_line, each.last_line) for each in read_markdown(TEXT)]
    assert found == [
        ((), 1, 1),
        (("Guide",), 5, 6),
        (("Guide", "code and bold"), 10, 12),
        (("Guide", "Underlined"), 17, 18),
        (("Second",), 24, 24),
    ]


def test_lines_are_those_of_the_file() -> None:
    """What a section says is what stands there."""
    lines = TEXT.split("\n")
    for each in read_markdown(TEXT):
        assert each.text == "\n".join(lines[each.first_line - 1 : each.last_line])


def test_a_text_of_headings_alone_has_no_section() -> None:
    """There is nothing to quote."""
    assert read_markdown("# A\n\n## B\n") == []

"""HTML to sections."""

from antiphon.agents.knowledge.readers.html import read_html

PAGE = """<!doctype html><html><head><title>The
 page</title><style>p { color: red }</style></head>
<body><nav>Home | About</nav>
<div>before <b>the</b> first</div>
<h1>Big <em>one</em></h1>
<p>Hello,
   world &amp; you.</p>tail<!-- unseen -->
<h3>Deep</h3><ul><li>a<li>b</ul>
<pre>x
  y</pre>
<script>alert(1)</script>
<h1>Second</h1><table><tr><td>1<td>2</table>
</body></html>"""


def test_a_section_for_each_heading() -> None:
    """What a person would see, under its headings; before the first heading the page's title counts as one."""
    found = [(each.heading, each.text) for each in read_html(PAGE)]
    assert found == [
        (("The page",), "before the first"),
        (("Big one",), "Hello, world & you.\ntail"),
        (("Big one", "Deep"), "a\nb\n\nx\n  y"),
        (("Second",), "1\n2"),
    ]


def test_broken_html_is_read_as_browsers_do() -> None:
    """Tags that nobody closed, and none at all."""
    assert [each.text for each in read_html("<p>one <b>two<p>three")] == ["one two\n\nthree"]
    assert [each.text for each in read_html("plain")] == ["plain"]
    assert read_html("<script>only</script>") == []

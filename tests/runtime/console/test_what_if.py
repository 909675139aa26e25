"""The answer to a what-if question, for eyes."""

import xml.etree.ElementTree as ElementTree

from rich.console import Console

from antiphon.runtime.console.curves import svg
from antiphon.runtime.console.what_if import answer_view, histogram
from antiphon.runtime.whatif.answer import Answer, Row
from antiphon.schemas.finding import Estimate


def _text(renderable: object) -> str:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def _answer(before: tuple[float, ...], after: tuple[float, ...]) -> Answer:
    return Answer(
        runs=len(before),
        left_out={"ended as error": 3},
        rows=(
            Row(name="latency, mean", unit="s", before=2.0, after=1.5, saving=Estimate(point=0.5, low=0.4, high=0.6)),
            Row(name="cost a run", unit="usd", before=0.02, after=0.02, saving=Estimate(point=0, low=0, high=0)),
        ),
        before_s=before,
        after_s=after,
        fidelity=0.001,
        tasks=12,
        assumptions=("One.",),
    )


def test_the_answer_says_all_that_belongs_to_it() -> None:
    """Runs, how good the replay is, what was left out, the saving with its interval, the assumptions."""
    text = _text(answer_view(_answer((1.0, 3.0), (1.0, 2.0))))
    for part in ("2 runs", "0.1%", "3: ended as error", "500 ms (25%)", "400 ms to 600 ms", "$0.02", "assumes: One."):
        assert part in text


def test_one_run_has_no_distribution() -> None:
    """A table is enough."""
    assert "took up to" not in _text(answer_view(_answer((1.0,), (0.5,))))


def test_every_run_is_in_the_histogram_once() -> None:
    """The longest and the shortest, too; equal values do no harm."""
    for before, after in (((1.0, 2.0, 3.0, 3.0), (1.0, 1.0, 2.0, 2.5)), ((1.0, 1.0), (1.0, 1.0))):
        table = _text(histogram(before, after))
        counts = [int(word) for word in table.replace("ms", "").split() if word.isdigit()]
        assert sum(counts) == len(before) + len(after)


def test_the_picture_is_svg_with_both_curves() -> None:
    """Well-formed, and from nothing to everybody."""
    root = ElementTree.fromstring(svg((1.0, 2.0, 4.0), (0.5, 1.0, 2.0)))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"before", "after", "100 %", "4.0 s"} <= set(texts)
    assert len(list(root)) > 10
    ElementTree.fromstring(svg((0.0,), (0.0,)))

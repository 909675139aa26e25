"""A trace with foreign spans, rid of wrappers and twins, with causes told from content."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign import mapped
from antiphon.runtime.telemetry.foreign_trace import LONGEST, WORDS_IN, WORDS_OUT, WRAPS, joined, words
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.schemas.telemetry import SpanRecord

HASH = ContentHash("key")
PASSAGE = "Air scatters blue light far more than red light."


class Written:
    """Spans of one trace as a stranger writes them; ids are letters, times seconds."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []

    def add(self, name: str, above: str | None, start: int, end: int, **attributes: Any) -> None:
        """A span; ``__`` in a keyword stands for a dot."""
        span = SpanRecord(
            trace_id=bytes(16),
            span_id=name.encode().rjust(8, b"-"),
            parent_id=None if above is None else above.encode().rjust(8, b"-"),
            name=name,
            start_ns=start,
            end_ns=end,
            attributes={key.replace("__", "."): value for key, value in attributes.items()},
        )
        self.spans.append(mapped(span, HASH))

    def kind(self, name: str, above: str | None, start: int, end: int, kind: str, **attributes: Any) -> None:
        """A span of OpenInference."""
        self.add(name, above, start, end, openinference__span__kind=kind, **attributes)

    def joined(self) -> dict[str, SpanRecord]:
        """The spans that are left, by name."""
        return {span.name: span for span, _ in joined([(span, "n") for span in self.spans])}


def parent(span: SpanRecord) -> str | None:
    """The name of the span above."""
    return None if span.parent_id is None else span.parent_id.decode().lstrip("-")


def test_wrappers_go_and_their_calls_move_up() -> None:
    """Chains below the root are no steps of ours, however many lie in one another."""
    trace = Written()
    trace.kind("agent", None, 0, 9, "AGENT")
    trace.kind("turn", "agent", 0, 9, "CHAIN")
    trace.kind("inner", "turn", 0, 9, "CHAIN")
    trace.kind("tool", "inner", 1, 2, "TOOL")
    trace.add("http", "inner", 1, 2, http__request__method="GET")
    left = trace.joined()

    assert sorted(left) == ["agent", "http", "tool"]
    assert parent(left["tool"]) == parent(left["http"]) == "agent"
    assert WRAPS not in left["tool"].attributes


def test_two_records_of_one_call_become_one() -> None:
    """The inner one goes and leaves what the outer one lacks; of ours and a stranger's, ours stays."""
    trace = Written()
    trace.kind("agent", None, 0, 9, "AGENT")
    trace.kind("outer", "agent", 1, 4, "LLM", llm__model_name="m", llm__input_messages__0__message__content="Why?")
    trace.add("inner", "outer", 1, 3, gen_ai__operation__name="chat", gen_ai__usage__input_tokens=7)
    trace.kind("theirs", "agent", 5, 8, "LLM", llm__input_messages__0__message__content="Why?")
    trace.add("ours", "theirs", 6, 7, antiphon__operation="model", antiphon__node="n1")
    trace.kind("tool", "agent", 8, 9, "TOOL", tool__name="a", input__value="x")
    trace.kind("other tool", "tool", 8, 9, "TOOL", tool__name="b", input__value="x")
    left = trace.joined()

    assert sorted(left) == ["agent", "other tool", "ours", "outer", "tool"]
    assert left["outer"].attributes[attr.GENAI_INPUT_TOKENS] == 7
    assert left["outer"].attributes[attr.GENAI_REQUEST_MODEL] == "m"
    assert parent(left["ours"]) == "agent"


def test_causes_follow_from_content() -> None:
    """A later call has an earlier result's words; what the handler was given itself is no cause."""
    trace = Written()
    trace.kind("agent", None, 0, 9, "AGENT", input__value="About red and blue light, please", output__value=PASSAGE)
    trace.kind("search", "agent", 0, 1, "TOOL", input__value="light", output__value=PASSAGE)
    trace.kind("other", "agent", 1, 2, "TOOL", input__value="blue light, please", output__value="{}")
    trace.kind("store", "agent", 3, 4, "TOOL", input__value='{"text": "note: scatters blue light"}', output__value="ok")
    left = trace.joined()
    search = left["search"].span_id.hex()

    assert left["search"].attributes[attr.CAUSES] == left["other"].attributes[attr.CAUSES] == []
    assert left["store"].attributes[attr.CAUSES] == [search]
    assert left["agent"].attributes[attr.RESULT_CAUSES] == [search]
    assert all(WORDS_IN not in span.attributes and WORDS_OUT not in span.attributes for span in left.values())


def test_what_is_not_known_is_not_said() -> None:
    """A result that nobody recorded, or an agent within the agent: then nothing tells where content came from."""
    trace = Written()
    trace.kind("agent", None, 0, 9, "AGENT", output__value=PASSAGE)
    trace.kind("silent", "agent", 0, 1, "TOOL", input__value="light")
    trace.kind("after", "agent", 2, 3, "TOOL", input__value=PASSAGE)
    left = trace.joined()
    assert attr.CAUSES in left["silent"].attributes
    assert attr.CAUSES not in left["after"].attributes and attr.RESULT_CAUSES not in left["agent"].attributes

    trace.kind("nested", "agent", 4, 5, "AGENT")
    assert attr.CAUSES not in trace.joined()["silent"].attributes


def test_a_trace_of_our_own_is_left_alone() -> None:
    """The same object comes back."""
    trace = Written()
    trace.add("ours", None, 0, 1, antiphon__operation="model", antiphon__node="n1")
    spans = [(span, "n") for span in trace.spans]
    assert joined(spans) is spans


def test_words_match_across_ways_of_writing() -> None:
    """Runs of words with 12 characters, whatever stands between them; too long a text says nothing."""
    one, two = words([PASSAGE], 1), words(['{"a": "Light scatters: blue light, far"}'], 1)
    assert one is not None and two is not None and set(one) & set(two)
    assert words(["too short"], 1) == [] and words(["x" * 65], 1) is None and words([" a" * LONGEST], 1) is None
    assert not set(one) & set(words([PASSAGE], 2) or ()), "another key"


VALUES = st.none() | st.booleans() | st.text(max_size=3) | st.lists(st.integers() | st.none() | st.text(), max_size=3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from([*"abcd", None]),
            st.integers(0, 9),
            st.sampled_from(["AGENT", "CHAIN", "TOOL", "LLM", "x"]),
            VALUES,
        ),
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_any_tree_is_survived(rows: list[tuple[str, str | None, int, str, Any]]) -> None:
    """Cycles, missing parents and marks that a stranger set: never an error, never a span twice."""
    trace = Written()
    for name, above, start, kind, value in rows:
        trace.kind(name, above, start, start + 1, kind, **{WORDS_IN: value, WORDS_OUT: value, "input.value": "x"})
    left = [span for span, _ in joined([(span, "n") for span in trace.spans])]
    assert len({span.span_id for span in left}) == len(left) <= len(rows)

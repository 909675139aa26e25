"""Spans for other tools: agents they know, names that say who, links where content came together."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry.outward import outward
from antiphon.schemas.telemetry import SpanLink, SpanRecord

T = b"t" * 16
SENT = "publish antiphon.{tenant}.task.{agent}.{handler}"
SUBJECT = {"messaging.destination.name": "antiphon.default.task.critic.review"}


def span(name: str, kind: int, **attributes: Any) -> SpanRecord:
    return SpanRecord(
        trace_id=T, span_id=b"s" * 8, parent_id=b"p" * 8, name=name, kind=kind, start_ns=1, end_ns=2,
        attributes=attributes, links=[SpanLink(trace_id=T, span_id=b"p" * 8)],
    )  # fmt: skip


def test_a_handler_is_an_agent_at_work() -> None:
    """By the attributes that viewers go by; the record itself stays as it was."""
    record = span("process …", 4, **{"antiphon.agent": "critic", "antiphon.handler": "review", **SUBJECT})
    shown = outward(record)
    assert shown.name == "invoke_agent critic"
    assert (shown.attributes["gen_ai.operation.name"], shown.attributes["gen_ai.agent.name"]) == (
        "invoke_agent",
        "critic",
    )
    assert shown.links == record.links
    assert record.name == "process …" and "gen_ai.agent.name" not in record.attributes


def test_a_message_has_the_name_of_its_subject() -> None:
    """The template is the same for every agent, and would be all that a list of spans shows."""
    assert outward(span(SENT, 3, **SUBJECT)).name == "publish antiphon.default.task.critic.review"
    model = {"messaging.destination.name": "antiphon.default.model.small"}
    assert outward(span("process antiphon.{tenant}.model.{model}", 4, **model)).name == (
        "process antiphon.default.model.small"
    )


def test_causes_are_links_beside_the_parent() -> None:
    """Spans only, each once: ids of tasks and messages are no spans."""
    causes = ["61" * 8, "62" * 8, "61" * 8, "70" * 8, "0" * 32, "zz" * 8, "é" * 16]
    links = outward(span("chat m", 2, **{"antiphon.msg.causes": causes})).links
    assert [link.span_id for link in links] == [b"p" * 8, b"a" * 8, b"b" * 8]
    assert links[1].trace_id == T and links[1].attributes == {"antiphon.link": "cause"}


@given(
    st.integers(0, 4),
    st.dictionaries(
        st.sampled_from(["antiphon.agent", "antiphon.handler", "antiphon.msg.causes", *SUBJECT]),
        st.none() | st.integers() | st.text(max_size=16) | st.lists(st.text(max_size=16) | st.integers(), max_size=3),
    ),
)
def test_whatever_it_says_a_span_stays_itself(kind: int, attributes: dict[str, Any]) -> None:
    """Ids, times and what was recorded are never changed, only added to."""
    record = span(SENT, kind, **attributes)
    shown = outward(record)
    assert (shown.span_id, shown.parent_id, shown.start_ns, shown.end_ns, shown.kind) == (
        record.span_id,
        record.parent_id,
        1,
        2,
        kind,
    )
    assert shown.attributes.items() >= attributes.items() if attributes else True
    assert shown.links[: len(record.links)] == record.links

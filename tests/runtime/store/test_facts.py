from typing import Any

import pytest

from antiphon.runtime.store.facts import facts_of, label_of


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "operation", "label"),
    [
        (4, "process x", {"antiphon.agent": "writer", "antiphon.handler": "write"}, "process", "writer.write"),
        (4, "process x", {}, "process", "process x"),
        (
            3,
            "publish x",
            {"antiphon.operation": "call", "messaging.destination.name": "antiphon.default.task.critic.review"},
            "call",
            "call critic.review",
        ),
        (
            3,
            "publish x",
            {"messaging.operation.name": "publish", "messaging.destination.name": "antiphon.default.event.a.b"},
            "publish",
            "publish a.b",
        ),
        (3, "publish x", {"messaging.destination.name": "orders"}, "publish", "publish x"),
        (2, "chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, "chat", "chat m"),
        (0, "GET /", {}, "GET", "GET /"),
        (0, "", {"antiphon.operation": 7}, "", ""),
    ],
)
def test_a_span_is_named_for_people(
    make: Any, kind: int, name: str, attributes: dict[str, Any], operation: str, label: str
) -> None:
    """Calls say whom, handlers who, models which; anything foreign keeps its own name."""
    span = make.step(1, kind=kind, name=name, attributes=attributes)
    facts = facts_of(span)
    assert (facts.operation, label_of(span, facts)) == (operation, label)


def test_queue_wait_comes_from_the_message_or_from_the_model(make: Any) -> None:
    """Handlers carry when the message entered and left, model calls how long they waited."""
    handler = make.process(1, attributes={"antiphon.queue.enter_ns": 5, "antiphon.queue.dequeue_ns": 9})
    assert facts_of(handler).queue_ns == 4
    assert facts_of(make.chat(2)).queue_ns == 100_000_000


@pytest.mark.parametrize("value", ["many", None, -5, [1], float("nan"), float("inf"), 10**400])
def test_values_of_the_wrong_kind_count_as_nothing(make: Any, value: object) -> None:
    """A foreign or broken attribute never breaks the store: sums stay within what an integer column holds."""
    keys = ("gen_ai.usage.input_tokens", "antiphon.model.prefill_s", "antiphon.attempt", "antiphon.queue.enter_ns")
    span = make.chat(1)
    span.attributes |= dict.fromkeys(keys, value)
    facts = facts_of(span)
    assert 0 <= facts.input_tokens <= 2**53
    assert facts.prefill_ns == 0 or value == 10**400
    span = make.process(2)
    span.attributes |= dict.fromkeys(keys, value) | {"antiphon.queue.dequeue_ns": 10**400}
    assert 0 <= facts_of(span).queue_ns <= 2**53

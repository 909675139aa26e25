"""Operations as entries, and entries as what the handler is told again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.delivery.journal import Owner
from antiphon.runtime.delivery.recorded import (
    MAX_VALUE,
    error_entry,
    fingerprint,
    raised,
    result_entry,
    value_of_entry,
)
from antiphon.runtime.errors import DeadlineExceeded, HandlerFailed, TaskDead
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.schemas.task import Effect

OWNER = Owner(tenant="default", task="t", run="t", agent="a", handler="h", version="1", origin=1, node="n")


class Custom(Exception):
    """An exception of the application."""


def operation(body: bytes = b"") -> Operation:
    scope = Scope(tenant="default", run="t", agent="a", task="t")
    return Operation(kind=OperationKind.RUN, path="2.a.1", target="look", scope=scope, body=body, effect=Effect.READ)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_request_is_recognised_by_its_bytes(one: bytes, other: bytes) -> None:
    """Equal bytes, equal mark; 64 bits make it as good as certain that others differ."""
    assert (fingerprint(one) == fingerprint(other)) is (one == other)
    assert len(fingerprint(one)) == 16


@given(st.integers(0, 3) | st.text() | st.lists(st.floats(allow_nan=False, allow_infinity=False)))
async def test_a_result_comes_back_as_it_was(value: object) -> None:
    """With the operation that it belongs to."""
    bus = MemoryBus()
    body = json.dumps(value).encode()
    entry = await result_entry(bus, OWNER, operation(b"q"), fingerprint(b"q"), Outcome(value, body), 5, 8, set())
    assert json.loads(await value_of_entry(bus, entry)) == value
    assert (entry.path, entry.operation, entry.target, entry.effect) == ("2.a.1", "run", "look", "read")
    assert (entry.request, entry.started_unix_ms, entry.ended_unix_ms) == (fingerprint(b"q"), 5, 8)


async def test_a_large_result_is_kept_beside_the_journal() -> None:
    """The entry names the blob."""
    bus = MemoryBus()
    await ensure_streams(bus)
    body = b'"' + b"x" * MAX_VALUE + b'"'
    entry = await result_entry(bus, OWNER, operation(), "", Outcome(None, body), 0, 0, set())
    assert (entry.value, bool(entry.digest)) == (b"", True)
    assert await value_of_entry(bus, entry) == body


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no"), ValueError),
        (OSError("gone"), OSError),
        (DeadlineExceeded("late"), DeadlineExceeded),
        (TaskDead("dead", task="c"), TaskDead),
        (Custom("own"), HandlerFailed),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), HandlerFailed),
    ],
)
def test_an_error_comes_back_by_type(error: Exception, told: type[Exception]) -> None:
    """Ours and Python's own, so that the handler's ``except`` works in every attempt; others by name only."""
    found = raised(error_entry(operation(), "", error, 0, 0))
    assert type(found) is told
    assert str(error) in str(found)


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "print"])
def test_no_journal_makes_a_process_exit(name: str) -> None:
    """Only exceptions that a handler could have caught with ``except Exception`` are built-in ones again."""
    error = HandlerFailed("x", type=name)
    assert isinstance(raised(error_entry(operation(), "", error, 0, 0)), HandlerFailed)

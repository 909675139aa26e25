"""Which results flow into which requests: a common run of twelve characters, unless the input had it already."""

import json

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.lineage import GRAM, MAX_TEXT, Lineage


def body(*texts: str) -> bytes:
    """A message with these text values."""
    return json.dumps({"texts": texts, "n": 3}).encode()


def test_twelve_common_characters_are_a_cause_and_eleven_are_not() -> None:
    """The rule of pattern P1, to the character."""
    lineage = Lineage(b"")
    lineage.record("one", body("abcdefghijklmno"))
    assert lineage.causes(body("xx abcdefghijkl yy")) == ["one"]
    assert lineage.causes(body("xx abcdefghijk yy")) == []


def test_what_the_handler_was_given_is_no_evidence() -> None:
    """A reply that repeats the question does not tie a later request to it."""
    question = "why is the sky blue today"
    lineage = Lineage(body(question))
    lineage.record("one", body(question))
    assert lineage.causes(body(f"asking again: {question}")) == []


def test_an_echo_is_no_evidence() -> None:
    """A tool that repeats what it was asked does not tie the next question to its answer; what it adds does."""
    lineage = Lineage(b"")
    assert lineage.causes(body("article 00012-1")) == []
    lineage.record("one", body("article 00012-1 costs four hundred crowns"))
    assert lineage.causes(body("article 00012-2")) == []
    assert lineage.causes(body("are four hundred crowns too much?")) == ["one"]


def test_causes_come_in_order_of_appearance_and_once() -> None:
    """Two sources in one request; of two with the same text the later one counts."""
    lineage = Lineage(b"")
    lineage.record("one", body("the first result of all"))
    lineage.record("two", body("a second, other result"))
    assert lineage.causes(body("a second, other result and the first result of all")) == ["two", "one"]
    lineage.record("three", body("the first result of all"))
    assert lineage.causes(body("the first result of all")) == ["three"]


def test_keys_and_numbers_are_not_content() -> None:
    """Only text values flow."""
    lineage = Lineage(b"")
    lineage.record("one", b'{"a_very_long_key_of_a_message": 123456789012345}')
    assert lineage.causes(b'{"a_very_long_key_of_a_message": 123456789012345}') == []


def test_a_text_too_long_to_be_looked_at_proves_nothing() -> None:
    """None, not an empty list: whoever reads it must not conclude independence."""
    lineage = Lineage(b"")
    lineage.record("one", body("y" * (MAX_TEXT + 1)))
    assert lineage.causes(body("short")) is None
    assert Lineage(b"").causes(body("y" * (MAX_TEXT + 1))) is None
    assert Lineage(body("y" * MAX_TEXT)).causes(body("short")) == []


def test_an_own_input_too_long_only_adds_edges() -> None:
    """Its end is not excluded, so an edge might be the input's; no edge still proves that nothing flowed."""
    lineage = Lineage(body("y" * MAX_TEXT + "the very end of it"))
    lineage.record("one", body("the very end of it"))
    assert lineage.causes(body("the very end of it")) == ["one"]
    assert lineage.causes(body("something else entirely")) == []


TEXT = st.text(st.sampled_from("ab"), max_size=40)


@given(own=TEXT, result=TEXT, request=TEXT)
def test_it_agrees_with_the_rule_written_plainly(own: str, result: str, request: str) -> None:
    """A cause exactly when some run of twelve is in result and request and not in the input."""
    lineage = Lineage(body(own))
    lineage.record("one", body(result))
    runs = {result[i : i + GRAM] for i in range(len(result) - GRAM + 1)}
    expected = ["one"] if any(run in request and run not in own for run in runs) else []
    assert lineage.causes(body(request)) == expected

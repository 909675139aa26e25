"""Which fields of replies a handler used, told from what it passed on."""

import json

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.fields import EVERY, REPLIES, SENT_CHARACTERS, FieldsRead, field_sizes, is_watched


def test_sizes_are_those_of_the_json_values() -> None:
    """Name and bytes of each field, in the reply's order; quotes count."""
    body = json.dumps({"title": "a" * 10, "text": "b" * 200, "n": 5}, separators=(",", ":")).encode()
    assert field_sizes(body) == ["title:12", "text:202", "n:1"]


@given(st.binary(max_size=400))
def test_anything_else_has_no_sizes_and_does_no_harm(body: bytes) -> None:
    """Small bodies, lists, text and broken JSON give nothing, never an error."""
    assert field_sizes(b"[" + body) == []
    assert isinstance(field_sizes(b'{"' + body), list)
    assert field_sizes(b'{"a":1}') == []


def test_a_field_is_read_when_its_text_goes_on() -> None:
    """In a later request or the result; a field without a long text cannot be told and counts as read."""
    fields = FieldsRead()
    fields.given("0a", json.dumps({"title": "Blue sky at noon", "text": "x" * 40, "score": 3, "tag": "short"}).encode())
    fields.given("0b", b'["not", "an object"]')
    fields.given("0c", b"{not json")
    fields.sent(json.dumps({"prompt": "Explain: Blue sky at noon, please"}).encode())

    assert fields.found() == ["0a:title,score,tag"]


def test_nested_texts_count_for_their_field() -> None:
    """A field is read when any text below it goes on."""
    fields = FieldsRead()
    fields.given("0a", json.dumps({"hits": [{"body": "the first passage"}, {"body": "the second passage"}]}).encode())
    fields.sent(json.dumps({"text": "says the second passage"}).encode())
    assert fields.found() == ["0a:hits"]


def test_memory_is_bounded_and_too_much_says_nothing() -> None:
    """Further replies are not watched; after a megabyte of requests an unread field would prove nothing."""
    fields = FieldsRead()
    for number in range(REPLIES + 5):
        fields.given(f"{number:02x}", b'{"a": 1}')
    assert len(fields.found() or ()) == REPLIES
    fields.sent(json.dumps("y" * (SENT_CHARACTERS + 1)).encode())
    assert fields.found() is None


def test_about_one_run_in_sixteen_is_watched_and_always_the_same() -> None:
    """The choice depends on the run alone, so that every node makes the same."""
    watched = [run for run in map(str, range(1600)) if is_watched(run)]
    assert 0.5 * 1600 / EVERY < len(watched) < 2 * 1600 / EVERY
    assert watched == [run for run in map(str, range(1600)) if is_watched(run)]

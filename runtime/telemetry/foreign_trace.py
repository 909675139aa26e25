"""A trace with foreign spans, as our own would be: no spans that only wrap others, and calls that know their causes.

Frameworks put spans of their own between an agent and its calls ("turn", "tools", "RunnableSequence"), and two
instrumentations may both write one call. What is left is a handler and its operations, as detectors know them.
Causes are told from content, by the rule of ``lineage`` at the size of words: an operation uses an earlier result of
its handler if the two share words in a row that have 12 characters together, unless the handler's own input has them
too. Spans carry such words as short keyed hashes only, and those are dropped here.
"""

import contextlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from antiphon.runtime.lineage import GRAM, leaves
from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.telemetry import SpanRecord

FOREIGN: Final = "antiphon.foreign"  # true on spans on their way from ``foreign`` to here, as those below
WORDS_IN: Final = "antiphon.foreign.words_in"
WORDS_OUT: Final = "antiphon.foreign.words_out"
WRAPS: Final = "antiphon.foreign.wraps"  # true on a framework's own span around calls

LONGEST: Final = 32_768  # characters of one content that are looked at; of longer ones nothing is said
LONGEST_WORD: Final = 64  # beyond, words are no unit of this text: a language without spaces, or a blob

_WORD: Final = re.compile(r"\w+")
_PASSING: Final = (FOREIGN, WORDS_IN, WORDS_OUT, WRAPS)
_CALLS: Final = ("model", "tool")

Node = tuple[SpanRecord, str]


def words(content: object, key: int) -> list[int] | None:
    """Hashes of runs of words in the texts of ``content``; None where it is too long to be looked at whole."""
    found: dict[int, None] = {}
    room = LONGEST
    for text in _texts(content):
        room -= len(text)
        if room < 0:
            return None
        parts = _WORD.findall(text)
        if any(len(part) > LONGEST_WORD for part in parts):
            return None
        for start in range(len(parts)):
            size, end = 0, start
            while size < GRAM and end < len(parts):
                size += len(parts[end])
                end += 1
            if size >= GRAM:
                found[zlib.crc32(" ".join(parts[start:end]).encode("utf-8", "replace"), key)] = None
    return list(found)


def joined(spans: Sequence[Node]) -> Sequence[Node]:
    """The trace without wrappers and twins, with causes; the same object where nothing in it is foreign."""
    if not any(_is_foreign(span) for span, _ in spans):
        return spans
    known = {span.span_id: (span, node) for span, node in spans}
    gone = {span.span_id for span, _ in spans if WRAPS in span.attributes and span.parent_id in known}
    _merge_twins(known, gone)
    left = [
        (replace(span, parent_id=_above(span_id, known, gone)), node)
        for span_id, (span, node) in known.items()
        if span_id not in gone
    ]
    return _with_causes(left)


def _merge_twins(known: dict[bytes, Node], gone: set[bytes]) -> None:
    """Of two records of one call ours stays, else the outer one, with what only the inner one had."""
    above = {span_id: _above(span_id, known, gone) for span_id in known}
    for span_id, (inner, _) in list(known.items()):
        found = known.get(above[span_id] or b"")
        if span_id in gone or found is None or not _same_call(inner, found[0]):
            continue
        outer, node = found
        if _is_foreign(outer) and not _is_foreign(inner):
            gone.add(outer.span_id)
            continue
        gone.add(span_id)
        if _is_foreign(outer):
            known[outer.span_id] = replace(outer, attributes={**inner.attributes, **outer.attributes}), node


def _above(span_id: bytes, known: dict[bytes, Node], gone: set[bytes]) -> bytes | None:
    """The nearest span above that stays; a cycle ends where it began."""
    parent, steps = known[span_id][0].parent_id, 0
    while parent in gone and steps <= len(gone):
        parent, steps = known[parent][0].parent_id, steps + 1
    return parent


def _same_call(inner: SpanRecord, outer: SpanRecord) -> bool:
    """Whether two instrumentations wrote one call: a model call in a model call, a tool in the tool of that name."""
    operation = inner.attributes.get(attr.OPERATION)
    if operation not in _CALLS or operation != outer.attributes.get(attr.OPERATION):
        return False
    names = (inner.attributes.get(attr.GENAI_TOOL_NAME), outer.attributes.get(attr.GENAI_TOOL_NAME))
    return (operation == "model" or names[0] == names[1]) and (_is_foreign(inner) or _is_foreign(outer))


def _with_causes(spans: Sequence[Node]) -> list[Node]:
    below: dict[bytes | None, list[SpanRecord]] = {}
    nesting = {span.parent_id for span, _ in spans if span.kind == attr.CONSUMER}  # what flows through it is unknown
    for span, _ in sorted(spans, key=lambda each: (each[0].start_ns, each[0].span_id)):
        if span.attributes.get(attr.OPERATION) in _CALLS:
            below.setdefault(span.parent_id, []).append(span)
    causes: dict[bytes, dict[str, Any]] = {}
    for handler, _ in spans:
        if handler.span_id in below and handler.span_id not in nesting:
            causes |= _causes(handler, below.get(handler.span_id, []))
    return [(replace(span, attributes=_told(span, causes.get(span.span_id, {}))), node) for span, node in spans]


def _causes(handler: SpanRecord, calls: Sequence[SpanRecord]) -> dict[bytes, dict[str, Any]]:
    """Causes of a handler's calls and of its result; nothing for what came after a result that nobody recorded."""
    own = frozenset(_words_of(handler, WORDS_IN) or ())
    found: dict[bytes, dict[str, Any]] = {}
    for call in calls:
        earlier = [before for before in calls if before.end_ns <= call.start_ns]
        told = _uses(_words_of(call, WORDS_IN), earlier, own)
        if told is not None and _is_foreign(call):
            found[call.span_id] = {attr.CAUSES: told}
    told = _uses(_words_of(handler, WORDS_OUT), calls, own)
    if told is not None:
        found[handler.span_id] = {attr.RESULT_CAUSES: told}
    return found


def _uses(content: list[int] | None, earlier: Iterable[SpanRecord], own: frozenset[int]) -> list[str] | None:
    if content is None:
        return None
    by: dict[int, str] = {}
    for before in sorted(earlier, key=lambda span: (span.end_ns, span.span_id)):
        result = _words_of(before, WORDS_OUT)
        if result is None:
            return None
        by.update(dict.fromkeys((word for word in result if word not in own), before.span_id.hex()))
    return list(dict.fromkeys(by[word] for word in content if word in by))


def _told(span: SpanRecord, causes: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in span.attributes.items() if key not in _PASSING}
    return kept | {key: value for key, value in causes.items() if key not in kept}


def _words_of(span: SpanRecord, key: str) -> list[int] | None:
    """What ``foreign`` put there; a stranger may have put anything."""
    found = span.attributes.get(key)
    return [word for word in found if isinstance(word, int)] if isinstance(found, list) else None


def _is_foreign(span: SpanRecord) -> bool:
    return FOREIGN in span.attributes


def _texts(value: object) -> Iterator[str]:
    """The texts in a value; one that is JSON itself, such as a tool call's arguments, is taken apart."""
    for text in leaves(value):
        if text[:1] in ("{", "["):
            with contextlib.suppress(msgspec.DecodeError):  # else a text that only begins like JSON
                yield from leaves(msgspec.json.decode(text))
                continue
        yield text

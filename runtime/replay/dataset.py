"""Recorded tasks as a file: inputs, results and scores, one JSON object a line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field, ValidationError

from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.replay.record import RecordedTask
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address, InvalidName
from antiphon.schemas.message import Value
from antiphon.schemas.score import Score
from antiphon.schemas.task import ErrorInfo

MAX_LINE = 8 * 1024 * 1024  # characters


class Example(Value):
    """One task: what ``handler`` was given, and what came of it. ``result`` null: it failed, and ``error`` says how.

    ``run`` and ``task`` name the record, which may be gone; ``result`` may be corrected by hand: it is what ``exact``
    compares with.
    """

    handler: str
    input: Any
    result: Any = None
    error: str = ""
    scores: dict[str, float] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    task: str = ""
    run: str = ""


def example_of(task: RecordedTask, scores: Iterable[Score] = ()) -> Example:
    """A recorded task as an example, with the scores that are about it."""
    info = ErrorInfo.model_validate_json(task.ended.error) if task.ended.error else None
    return Example(
        handler=str(task.address),
        input=json.loads(task.ended.body),
        result=json.loads(task.ended.value) if task.ended.value else None,
        error="" if info is None else f"{info.type}: {info.message}",
        scores={score.name: score.value for score in scores if score.task == task.id},
        labels=dict(Envelope.from_headers(task.ended.headers).labels),
        task=task.id,
        run=task.batch.run,
    )


def write_lines(examples: Iterable[Example]) -> Iterator[str]:
    """The file's lines, each with its end."""
    for example in examples:
        yield example.model_dump_json() + "\n"


def read_lines(lines: Iterable[str], name: str) -> list[Example]:
    """The examples in a file called ``name``; empty lines are skipped.

    Raises:
        InvalidMessage: a line that is none; says which and why.
    """
    found: list[Example] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            raise InvalidMessage(f"{name}, line {number}: {len(line):,} characters, expected {MAX_LINE:,} at most")
        try:
            example = Example.model_validate_json(line)
            Address.parse(example.handler)
        except ValidationError as error:
            raise InvalidMessage(
                f"{name}, line {number}: {problems(error)}; expected what `antiphon dataset export` writes"
            ) from None
        except InvalidName as error:
            raise InvalidMessage(f"{name}, line {number}: handler: {error}") from None
        found.append(example)
    return found


def body_of(example: Example) -> bytes:
    """The example's input as its handler is given it."""
    return json.dumps(example.input, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(example: Example) -> Mapping[str, str]:
    """What travels beside it."""
    return Envelope(labels=example.labels).headers()

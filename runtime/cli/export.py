"""``antiphon trace export``: one run as a file that other tools open."""

import json
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path

import typer

from antiphon.runtime.cli.common import fail
from antiphon.runtime.cli.observe import one_run, open_reader
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.store.query import RunFilter
from antiphon.runtime.telemetry import trace_file
from antiphon.schemas.telemetry import SpanRecord

MOST_SPANS = 1_000_000


class Format(StrEnum):
    """What reads it."""

    OTLP = "otlp"  # OTLP's JSON: POST it to /v1/traces of an OpenTelemetry collector, or of another console
    PROTOBUF = "protobuf"  # OTLP's protobuf, for receivers that read no JSON, such as Phoenix
    CHROME = "chrome"  # chrome://tracing and ui.perfetto.dev
    PERFETTO = "perfetto"  # the same file: Perfetto opens Chrome's trace events


def export(
    run: str = typer.Argument(help="A run, trace or task id, or the beginning of one."),
    format: Format = typer.Option(
        Format.OTLP,
        help="otlp: OTLP's JSON. protobuf: OTLP's other form. chrome or perfetto: Chrome's trace events, which "
        "Perfetto opens.",
    ),
    out: Path | None = typer.Option(None, help="The file to write; standard output if not given."),
) -> None:
    """Write a run as OTLP, or as trace events for Chrome and Perfetto."""
    try:
        with closing(open_reader()) as reader:
            record = reader.run(one_run(reader, run, RunFilter(obs=True)), max_spans=MOST_SPANS, max_logs=0)
        if record is None or not record.spans:
            raise ConfigurationError(f"run {run} has no spans any more: the retention limits removed them")
        made = _made(record.spans, format)
        if out is None:
            typer.echo(made, nl=format is not Format.PROTOBUF)
            return
        try:
            out.write_bytes(made)
        except OSError as error:
            raise ConfigurationError(f"cannot write {out}: {error.strerror}") from None
        typer.echo(f"{len(record.spans):,} spans in {out}", err=True)
    except AntiphonError as error:
        fail(error, as_json=False)


def _made(spans: Sequence[SpanRecord], format: Format) -> bytes:
    if format is Format.PROTOBUF:
        from antiphon.runtime.telemetry.otlp import encoded

        return encoded(spans)
    return json.dumps(trace_file.otlp(spans) if format is Format.OTLP else trace_file.chrome(spans)).encode()

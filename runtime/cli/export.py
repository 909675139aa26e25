"""``antiphon trace export``: one run as a file that other tools open."""

import json
from contextlib import closing
from enum import StrEnum
from pathlib import Path

import typer

from antiphon.runtime.cli.common import fail
from antiphon.runtime.cli.observe import one_run, open_reader
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.store.query import RunFilter
from antiphon.runtime.telemetry import trace_file

MOST_SPANS = 1_000_000


class Format(StrEnum):
    """What reads it."""

    OTLP = "otlp"  # Jaeger, Tempo, Phoenix: POST it to /v1/traces
    CHROME = "chrome"  # chrome://tracing and ui.perfetto.dev
    PERFETTO = "perfetto"  # the same file: Perfetto opens Chrome's trace events


def export(
    run: str = typer.Argument(help="A run, trace or task id, or the beginning of one."),
    format: Format = typer.Option(
        Format.OTLP, help="otlp: OTLP's JSON. chrome or perfetto: Chrome's trace events, which Perfetto opens."
    ),
    out: Path | None = typer.Option(None, help="The file to write; standard output if not given."),
) -> None:
    """Write a run as OTLP JSON or as trace events for Chrome and Perfetto."""
    try:
        with closing(open_reader()) as reader:
            record = reader.run(one_run(reader, run, RunFilter(obs=True)), max_spans=MOST_SPANS, max_logs=0)
        if record is None or not record.spans:
            raise ConfigurationError(f"run {run} has no spans any more: the retention limits removed them")
        made = trace_file.otlp(record.spans) if format is Format.OTLP else trace_file.chrome(record.spans)
        text = json.dumps(made)
        if out is None:
            typer.echo(text)
            return
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot write {out}: {error.strerror}") from None
        typer.echo(f"{len(record.spans):,} spans in {out}", err=True)
    except AntiphonError as error:
        fail(error, as_json=False)

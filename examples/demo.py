"""The stage for ``digest.py``: two nodes, a console process, live progress, and a look at what was recorded."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from processes import console_address, process, wait_ready
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from antiphon import Client, Done, Handler, Message, Progress, Token, connect
from antiphon.runtime.cli.models import pull_model
from antiphon.runtime.console.terminal import findings_table, spending_table, trace_tree
from antiphon.runtime.errors import AntiphonError, ConfigurationError, DeadlineExceeded
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.observatory import KIND as CONSOLE
from antiphon.runtime.observatory import console_token
from antiphon.runtime.settings import BUILT_IN_MODEL, Settings, load_settings
from antiphon.runtime.store.query import Reader, RunRecord
from antiphon.runtime.store.spending import spending_of
from antiphon.schemas.finding import Finding, FindingState

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = ROOT / "examples" / "digest.py"
NODES = 2
WORK_S = 600.0
RECORD_S = 20.0  # until the last span is in the store and the logging agent has looked at the run
MAX_CHARACTERS = 30_000  # of one document; the passage that is summarised comes from its beginning

out = Console()


def main(handler: Handler[Any, Any], request_of: Callable[[Sequence[tuple[str, str]]], Message]) -> None:
    """Run the demo; status 0 only if every step of it really happened.

    ``request_of`` makes the handler's message from (title, text) pairs.
    """
    arguments = _arguments()
    try:
        files = arguments.files or _own_documents()
        texts = [(_title(file), _read(file)) for file in files]
        settings, changes = _settings(arguments.model)
        _pull(settings)
        os.environ.update(changes)
        asyncio.run(_run(handler, request_of(texts), len(texts), settings, keep=arguments.keep))
    except AntiphonError as error:
        out.print(f"[bold red]{type(error).__name__}:[/] {error.message}", highlight=False)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        out.print("stopped; nothing is left running")
        sys.exit(130)


async def _run(handler: Handler[Any, Any], message: Message, texts: int, settings: Settings, *, keep: bool) -> None:
    started_s = time.monotonic()
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(settings=settings))
        processes = []
        address = await _kept_console(client, settings)
        if address is None:
            processes.append(await stack.enter_async_context(process("up", "--port", "0")))
            address = await console_address(processes[0])
        processes += [
            await stack.enter_async_context(process("run", f"{ROOT / 'examples' / 'digest.py'}:system", "--no-console"))
            for _ in range(NODES)
        ]
        await wait_ready(client, processes)
        ready_s = time.monotonic() - started_s
        out.print(f"two nodes and a console are up after {ready_s:.1f} s; model: {settings.default_model}")
        run, digest = await _digest(client, handler, message, texts)
        _show(digest)
        record, findings = await _record(settings, run)
        out.print(trace_tree(record))
        out.print(spending_table(spending_of(record.spans)))
        out.print(findings_table(findings))
        if all(finding.state is FindingState.CANDIDATE for finding in findings):
            out.print("Candidates lack support: leave one demo up with --keep, run others, and watch them gather it.")
        if settings.default_model == BUILT_IN_MODEL:
            out.print(
                "A model of 135M parameters proves the line, not the answers. Name a better one: "
                '--model FOLDER, or --model "http://localhost:11434/v1#llama3.2" (Ollama, vLLM, …).',
                style="yellow",
            )
        out.print(f"console: {address}", soft_wrap=True, highlight=False)
        out.print(f"done in {time.monotonic() - started_s:.1f} s")
        if keep:
            out.print("the console stays up; Ctrl-C ends it")
            await asyncio.Event().wait()


async def _digest(client: Client, handler: Handler[Any, Any], message: Message, texts: int) -> tuple[str, Any]:
    """Submit and show progress until the typed result is here."""
    total = 2 * texts + 1  # a summary and a verdict each, then the editor
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Bar(*columns, TimeElapsedColumn(), console=out) as bar:
        task = bar.add_task("planning", total=total)
        async for event in client.stream(handler, message, timeout_s=WORK_S):
            match event:
                case Progress(value={"step": "summarised" | "judged" as step, "title": title}):
                    bar.update(task, advance=1, description=f"{step} {title}"[:34])
                case Progress(value={"step": step}):
                    bar.update(task, description=str(step))
                case Token():
                    bar.update(task, description="writing")
                case Done(value=value, run=run):
                    bar.update(task, completed=total, description="done")
                    return run, value
    raise ConfigurationError("the stream ended without a result")


def _show(digest: Any) -> None:
    lines = [f"[bold]{digest.headline}[/]", "", digest.introduction, ""]
    lines += [f"[cyan]{summary.title}[/]: {summary.text}" for summary in digest.summaries]
    if digest.doubted:
        lines += ["", f"[dim]the critic doubts: {', '.join(digest.doubted)}[/]"]
    out.print(Panel("\n".join(lines), title="digest", expand=False))


async def _record(settings: Settings, run: str) -> tuple[RunRecord, Sequence[Finding]]:
    """The run as it was recorded and what the logging agent made of it.

    Raises:
        DeadlineExceeded: the record is not complete in time; says what is missing.
    """
    missing = "the run is not in the store"
    with closing(Reader.open(settings.store_path)) as reader:
        end_s = time.monotonic() + RECORD_S
        while time.monotonic() < end_s:
            record = await asyncio.to_thread(reader.run, run)
            if record is not None:
                traces = {span.trace_id.hex() for span in record.spans}
                open_spans = sum(span.end_ns == 0 for span in record.spans)
                findings = [found for found in reader.findings() if traces & set(found.evidence_traces)]
                if not open_spans and findings:
                    return record, findings
                missing = f"{open_spans} spans are unfinished, {len(findings)} findings or candidates cite the run"
            await asyncio.sleep(0.25)
    raise DeadlineExceeded(f"after {RECORD_S:.0f} s the record is not complete: {missing}")


async def _kept_console(client: Client, settings: Settings) -> str | None:
    """The console that an earlier ``--keep`` left up in this home; it goes on gathering support for findings."""
    for card in await client.host.directory.nodes():
        if card.kind == CONSOLE:
            return f"{card.address}?token={console_token(settings.home)}"
    return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="text documents; without any, the project's own Markdown")
    parser.add_argument("--keep", action="store_true", help="leave the console up until Ctrl-C")
    parser.add_argument("--model", help="a model name, a folder or GGUF file, or URL#MODEL of an OpenAI-like server")
    return parser.parse_args()


def _settings(model: str | None) -> tuple[Settings, dict[str, str]]:
    """The settings with the chosen model, and the variables by which child processes see the same."""
    found = load_settings()
    if model is None or model in found.models:
        name = model or found.default_model
        changes = {"ANTIPHON_DEFAULT_MODEL": name}
    else:
        models = json.loads(os.environ.get("ANTIPHON_MODELS") or "{}")
        changes = {
            "ANTIPHON_DEFAULT_MODEL": "chosen",
            "ANTIPHON_MODELS": json.dumps({**models, "chosen": model}),
        }
    return load_settings({**os.environ, **changes}), changes


def _pull(settings: Settings) -> None:
    chosen = settings.models[settings.default_model]
    if isinstance(chosen, LocalSetting) and chosen.path == BUILT_IN_MODEL:
        pull_model(BUILT_IN_MODEL)


def _own_documents() -> list[Path]:
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    found += sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "adr").glob("*.md"))
    return [path for path in found if path.is_file()][:8]


def _title(file: Path) -> str:
    return file.stem.replace("-", " ").replace("_", " ")


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None
    if b"\0" in raw:
        raise ConfigurationError(f"{file} is binary: give text files, such as Markdown")
    text = raw.decode("utf-8", errors="ignore").strip()[:MAX_CHARACTERS]
    if not text:
        raise ConfigurationError(f"{file} is empty or no UTF-8 text: give text files, such as Markdown")
    return text

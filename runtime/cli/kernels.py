"""``antiphon kernels``: what the Triton kernels become on each accelerator, and which tiles fit the one at hand."""

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.progress import Progress
from rich.table import Column, Table

from antiphon.runtime.cli.common import fail
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.errors import ConfigurationError

app = typer.Typer(help="Compile kernels for every accelerator; tune them for the one at hand.", no_args_is_help=True)


@app.command("report")
def report(
    target: list[str] = typer.Option([], "--target", help="Only for this one, such as sm_90; may be repeated."),
    kernel: list[str] = typer.Option([], "--kernel", help="Only this one, such as rms_norm; may be repeated."),
    variants: bool = typer.Option(False, "--all", help="Every configuration, not only the default of each kernel."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Cross-compile every kernel for every target and show registers, spills and matrix instructions.

    Needs Triton and no accelerator. With --kernel every configuration of that kernel is compiled. The status is 1 when
    a kernel does not compile, spills, needs more shared memory than the target has, or lacks the matrix instruction it
    should have.
    """
    from antiphon.kernels.cross_compile import TARGETS
    from antiphon.kernels.report import compile_all

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=None)
        try:
            found = compile_all(
                targets=target or tuple(TARGETS),
                kernels=kernel,
                variants=variants or bool(kernel),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except (ValueError, RuntimeError) as error:
            fail(ConfigurationError(str(error)), as_json=as_json)
    if as_json:
        rows = [{**asdict(row), "problem": row.problem} for row in found.rows]
        typer.echo(json.dumps({**found.counts(), "rows": rows}))
    else:
        table = Table(Column("kernel", overflow="fold"), "target", "registers", "spill B", "shared B", "matrix", "")
        for row in found.rows:
            numbers = (str(row.registers), str(row.spill_bytes), str(row.shared_bytes))
            table.add_row(row.case, row.target, *numbers, row.matrix, "FAILED" if row.problem else "ok")
        Console().print(table)
        for row in found.problems:
            typer.echo(f"{row.case} on {row.target}: {row.problem}")
        typer.echo(", ".join(f"{count} {name}" for name, count in found.counts().items()))
    if found.problems:
        raise typer.Exit(1)


@app.command("tune")
def tune_tiles(
    op: list[str] = typer.Option([], "--op", help="Only this one, such as linear; may be repeated."),
    table: Path | None = typer.Option(None, "--table", help="The table to change; the package's own by default."),
) -> None:
    """Measure tile sizes on the accelerator at hand and write the fastest into the table that launches read.

    Rows of other architectures stay. A machine without an accelerator is refused: tiles are measured, never estimated.
    """
    from antiphon.kernels.tiles import TABLE, read_tiles, write_tiles
    from antiphon.kernels.tunables import tunables
    from antiphon.kernels.tune import accelerator, merge, tune

    path = table or TABLE
    try:
        device = accelerator()
        known = tunables()
        if unknown := set(op) - {each.op for each in known}:
            ops = ", ".join(sorted({each.op for each in known}))
            raise ValueError(f"found op {', '.join(sorted(unknown))}, expected some of {ops}")
        old = read_tiles(path.read_text(encoding="utf-8")) if path.exists() else ()
        chosen = [each for each in known if not op or each.op in op]
        found = tune(chosen, device, progress=lambda line: typer.echo(line, err=True))
        path.write_text(write_tiles(merge(old, [each.row for each in found])), encoding="utf-8")
    except (ValueError, OSError) as error:
        fail(ConfigurationError(str(error)))
    for each in found:
        for tile, reason in each.refused.items():
            typer.echo(f"{each.row.op} {each.row.bucket}: {tile} cannot run here: {reason}", err=True)
    typer.echo(f"{len(found)} rows written to {path}")

"""How fast the console is over a large store: lists of runs, one run, a waterfall of 50,000 spans, and what it weighs.

The store has 2 million spans (``--quick``: 200,000): 250 a second of a system whose runs have two dozen spans, and
beside them for ten minutes one run of 50,000. The console's own writer fills it, in some minutes; ``--keep FOLDER``
leaves it there, and takes it from there the next time. The console is an ``antiphon up`` of its own.

- lists: pages of 50 runs over HTTP on the loopback, nine filters, down to the third page. Beside them SQLite alone
  reading 51 rows (raw), and reading the spans of 50 runs with their JSON, as a store that keeps no totals must (peer).
- a run: runs drawn at random, all that the page asks for at first. Beside it SQLite reading five columns of the same
  spans (raw), and whole rows with their JSON to JSON, as a viewer over one table does (peer).
- columns: the long run whole; and over a store of its own, pages of a run of a million spans (``--quick``: 200,000)
  with the memory that took.
- browser: Debian's Chromium without display or GPU. First paint: from asking for the page, nothing of it cached, to the
  first frame with rows. Frames: scrolled by 96 pixels in each. Beside them a page that does nothing (raw), and one with
  elements for each row (peer); Jaeger and Perfetto show other things of other stores and are no peers of this.
- weight: the resident set of ``antiphon up`` after all of it; beside it, before.

Limits: lists 30 ms and one run 20 ms at the 95th percentile, first paint 1 s, 50 frames a second in both orders, and
250 MB. Where Chromium is missing, a line says so, and the browser's figures are null.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))  # `make bench` leaves it out

from console_cases import browser, record, requests
from console_cases.browser import Seen
from console_cases.requests import Case, p95
from console_cases.server import console

S = 1_000_000_000
LONG_SPANS = 50_000


def home_in(folder: Path, spans: int, long_spans: int) -> Path:
    """A home folder with a store of that size, which ends now; one that was kept there is taken as it is."""
    path = folder / f"{spans}-{long_spans}" / "store.db"
    if not path.with_suffix(".whole").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        record.fill(path, spans, long_spans, time.time_ns() - spans // record.SPANS_PER_S * S)
        path.with_suffix(".whole").touch()
    return path.parent


def ask(table: Table, home: Path, rounds: int) -> tuple[dict[str, float | None], Seen | None]:
    """Everything about one store; rows of the table, the figures, and what the browser saw."""
    store = home / "store.db"
    with console(home) as on:
        before_mb = on.resident_mb()
        lists = requests.lists(on, store, rounds)
        runs = requests.runs(on, store, rounds * 5)
        took, spans = requests.pages(on, record.LONG, 50_000)
        again, _ = requests.pages(on, record.LONG, 50_000)
        seen = browser.look(on.address, LONG_SPANS)
        rss_mb = on.resident_mb()
    for title, cases in (("list, ", lists), ("", runs)):
        for case in cases:
            table.add_row(f"{title}{case.name}", *_three(case), "")
    every = [value for case in lists for value in case.ours]
    table.add_row("lists, all", f"{p95(every):.1f} ms", "", "", "30 ms")
    table.add_row("a run", f"{p95(runs[0].ours):.1f} ms", "", "", "20 ms")
    table.add_row(f"columns of {spans:,} spans", f"{sum(took):.0f} ms", "", f"again {sum(again):.1f} ms", "")
    table.add_row("resident", f"{rss_mb:.0f} MB", f"before {before_mb:.0f} MB", "", "250 MB")
    return {"runs_p95_ms": p95(every), "run_p95_ms": p95(runs[0].ours), "console_rss_mb": rss_mb}, seen


def _three(case: Case) -> tuple[str, str, str]:
    return f"{p95(case.ours):.1f} ms", f"{p95(case.raw):.1f} ms", f"{p95(case.peer):.1f} ms"


def drawn(table: Table, seen: Seen | None) -> dict[str, float | None]:
    """The browser's rows and figures."""
    if seen is None:
        print("no chromium is installed: first paint and frames were not measured")
        return {"first_paint_s": None, "scroll_fps": None}
    table.add_row("first paint", f"{seen.first_s:.2f} s", "", f"all in elements {seen.plain_s:.2f} s", "1 s")
    table.add_row("all rows there", f"{seen.whole_s:.2f} s", "", "", "")
    for name, of in (("by time", seen.by_time), ("by agent", seen.by_agent)):
        table.add_row(f"frames, {name}", f"{of.fps:.0f}/s, p95 {of.p95_ms:.0f} ms",
            f"{seen.empty.fps:.0f}/s, p95 {seen.empty.p95_ms:.0f} ms",
            f"{seen.plain.fps:.0f}/s, p95 {seen.plain.p95_ms:.0f} ms", "50/s")  # fmt: skip
    return {"first_paint_s": seen.first_s, "scroll_fps": min(seen.by_time.fps, seen.by_agent.fps)}


def huge(table: Table, home: Path) -> dict[str, float]:
    """One run of very many spans, page by page."""
    with console(home) as on:
        before_mb = on.resident_mb()
        took, count = requests.pages(on, record.LONG, 20_000)
        grown_mb = on.peak_mb() - before_mb
    table.add_row(f"a page of {count:,} spans", f"p95 {p95(took):.0f} ms", "", f"memory at most {grown_mb:+.0f} MB", "")
    return {"huge_spans": count, "huge_page_p95_ms": p95(took), "huge_grown_mb": grown_mb}


def main() -> None:
    """Run, print a table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the spans, the long run all the same")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where stores are kept, and taken from")
    given = parser.parse_args()
    table = Table("what", "ours", "raw", "peer", "limit")
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        spans, most = (200_000, 200_000) if given.quick else (2_000_000, 1_000_000)
        figures, seen = ask(table, home_in(folder.resolve(), spans, LONG_SPANS), 20 if given.quick else 60)
        figures |= drawn(table, seen) | huge(table, home_in(folder.resolve(), most, most))
    Console(width=120).print(table)
    print(json.dumps({key: None if value is None else round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()

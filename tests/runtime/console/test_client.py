"""The page's sources: their own tests, what they may not do, and how large they become."""

import gzip
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[3] / "runtime" / "console" / "client"
MOST_BYTES = 250_000  # of the whole page, compressed
FIRST_BYTES = 100_000  # before the list of runs is there


@pytest.fixture(scope="module")
def built() -> dict[str, bytes]:
    """The files that the wheel carries."""
    static = files("antiphon.runtime.console") / "static"
    return {item.name: item.read_bytes() for item in static.iterdir()}


def _sources() -> Iterator[Path]:
    for folder in ("src", "test"):
        yield from (CLIENT / folder).rglob("*.ts*")


def _node(script: str, *arguments: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, version 20.19 or newer")
    command = [node, str(CLIENT / "node_modules" / script), *arguments]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"after `make setup` this should pass:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_the_sources_pass_their_own_tests() -> None:
    """Layout of rows, idle gaps, critical path, columns, forms, formatting: pure, and tested where they run."""
    _node("vitest/vitest.mjs", "run", "--reporter=dot")


def test_the_built_files_are_what_the_sources_say(built: dict[str, bytes], tmp_path: Path) -> None:
    """They are in git, so that `pip install .` needs no node: a build of now gives the same bytes."""
    _node("vite/bin/vite.js", "build", "--outDir", str(tmp_path), "--emptyOutDir", "--logLevel", "error")
    again = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    assert sorted(again) == sorted(built)
    assert [name for name in built if built[name] != again[name]] == []


def test_no_source_assigns_markup() -> None:
    """Data becomes text: nothing here takes a string for HTML or for a program."""
    banned = re.compile(
        r"dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    )
    seen = list(_sources())
    assert len(seen) > 40
    assert [path.name for path in seen if banned.search(path.read_text())] == []


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(built: dict[str, bytes]) -> None:
    """As its policy demands: scripts and styles from files of this server."""
    page = built["index.html"].decode()
    assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=|<style", page)
    addresses = re.findall(r"""(?:src|href)="([^"]+)""", page)
    assert addresses
    assert all(re.fullmatch(r"/[\w.-]+", address) and address[1:] in built for address in addresses)
    styles = b"".join(content for name, content in built.items() if name.endswith(".css"))
    assert not re.search(rb"@import|url\((?!data:)", styles)


def test_the_page_is_small(built: dict[str, bytes], record_property: Callable[[str, object], None]) -> None:
    """Below 250 kB compressed, and less than half of that before the first view is there."""
    sizes = {name: len(gzip.compress(content)) for name, content in built.items()}
    first = sum(size for name, size in sizes.items() if name.startswith(("index", "Runs", "Parts", "words")))
    record_property("page_bytes", sum(sizes.values()))
    assert sum(sizes.values()) <= MOST_BYTES, sizes
    assert first <= FIRST_BYTES, sizes


def test_each_source_is_small() -> None:
    """One noun a file: the median is below 120 lines, none is above 300."""
    lengths = sorted(len(path.read_text().splitlines()) for path in _sources())
    assert lengths[len(lengths) // 2] < 120
    assert lengths[-1] <= 300

"""Real processes on a temporary home, started as a person starts them and swept up afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from antiphon import Handler, System
from antiphon.runtime.loader import load_system
from antiphon.runtime.settings import Settings

T = TypeVar("T")
COMMAND = Path(sys.executable).with_name("antiphon")
WORKSHOP = Path(__file__).with_name("workshop.py")
POLL_S = 0.02
PATIENCE_S = 240.0  # two seconds are usual; a shared machine may keep back nine tenths of its processors for minutes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder talks to a real server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.nats)


def eventually(check: Callable[[], T | None], why: Callable[[], str] = lambda: "") -> T:
    """The first truthy answer of ``check``; fails, saying ``why``, when there is none in time."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"nothing came in {PATIENCE_S:g} s\n{why()}")
        time.sleep(POLL_S)


class Eventually(Protocol):
    """The type of ``eventually``."""

    def __call__(self, check: Callable[[], T | None], why: Callable[[], str] = ...) -> T:
        """Poll."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """A command that goes on: its process and what it has said so far."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    @property
    def said(self) -> str:
        """Both streams."""
        return self.output.read_text() + self.errors.read_text()

    def says(self, text: str) -> "Running":
        """Wait until ``text`` was said."""
        eventually(lambda: text in self.said or self.process.poll() is not None, lambda: self.said)
        assert text in self.said, f"it ended with {self.process.returncode}:\n{self.said}"
        return self

    def ends(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if one is given, and return the exit status."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still there after {PATIENCE_S:g} s\n{self.said}")


@dataclass(slots=True)
class Place:
    """A home folder and the commands that run on it."""

    home: Path
    more: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """Of the commands: nothing of ours but the home; the console takes any free port, bodies are small."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "OTEL_"))}
        return {
            **kept,
            "ANTIPHON_HOME": str(self.home),
            "ANTIPHON_CONSOLE_PORT": "0",
            "ANTIPHON_MAX_BODY_MB": "1",
            **self.more,
        }

    @property
    def workshop(self) -> Path:
        """The file with the agents."""
        return WORKSHOP

    @property
    def settings(self) -> Settings:
        """The same for code of the test itself."""
        return Settings(home=self.home, max_body_mb=1)

    def start(self, *arguments: str) -> Running:
        """``antiphon ARGUMENTS`` in a process session of its own."""
        base = self.home.parent / f"{self.home.name}-{len(self.started)}"
        output, errors = base.with_suffix(".out"), base.with_suffix(".err")
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [str(COMMAND), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environ,
                cwd=self.home.parent,
                start_new_session=True,
            )
        running = Running(process, output, errors)
        self.started.append(running)
        return running

    def node(self, *options: str, target: str = f"{WORKSHOP}:system") -> Running:
        """``antiphon run`` of the workshop, ready for work."""
        return self.start("run", target, "--no-console", *options).says("Ctrl-C drains and stops")

    def command(
        self, *arguments: str, stdin: str = "", timeout_s: float = PATIENCE_S
    ) -> "subprocess.CompletedProcess[str]":
        """``antiphon ARGUMENTS`` to its end."""
        return subprocess.run(
            [str(COMMAND), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
            cwd=self.home.parent,
            timeout=timeout_s,
            check=False,
        )

    def processes(self) -> dict[int, str]:
        """Whoever has the home in its command line or environment: nodes, consoles, guards, servers."""
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    told = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
                except OSError:
                    continue  # it has just ended
                if os.fsencode(self.home) in told:
                    found[int(entry.name)] = told.partition(b"\0\0")[0].replace(b"\0", b" ").decode()[:200]
        return found

    def is_quiet(self) -> None:
        """Wait until no process is left."""
        eventually(lambda: not self.processes(), lambda: f"left: {self.processes()}")

    def sweep(self) -> None:
        """End what this place started, and wait for the server to go."""
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        self.is_quiet()


@contextmanager
def opened(folder: Path) -> Iterator[Place]:
    """A place that is swept up at the end."""
    place = Place(folder / "home")
    try:
        yield place
    finally:
        place.sweep()


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place, None, None]:
    """A home for this test alone."""
    with opened(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place, None, None]:
    """A home for the tests of one file."""
    with opened(tmp_path_factory.mktemp("own")) as found:
        yield found


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place, None, None]:
    """One node and its console, for tests that leave them as they are."""
    with opened(tmp_path_factory.mktemp("shared")) as found:
        found.start("run", f"{WORKSHOP}:system", "--name", "shared").says("Ctrl-C drains and stops")
        yield found


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> "Eventually":
    """The function, for tests: this folder is no package to import from."""
    return eventually


@pytest.fixture(scope="session")
def workshop() -> System:
    """The agents' definitions, for typed addresses."""
    return load_system(f"{WORKSHOP}:system")


@pytest.fixture(scope="session")
def peer(workshop: System) -> Callable[[str], Handler[Any, Any]]:
    """``peer("echo.ping")``: the handler of an address."""
    handlers = {str(handler.address): handler for agent in workshop.agents for handler in agent.handlers.values()}
    return handlers.__getitem__

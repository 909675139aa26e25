"""What this machine and this installation have."""

import asyncio
import platform
import re
import resource
import shutil
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from antiphon.runtime.bus.topology import STREAMS
from antiphon.runtime.checkup.verdict import Status, Verdict
from antiphon.runtime.console.access import access_of
from antiphon.runtime.console.auth import OPEN
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.settings import Settings
from antiphon.runtime.version import VERSION

LEAST_FILES: Final = 1024  # a connection is one; a server has one for each client
LEAST_MB: Final = 256
_MB: Final = 1_000_000
_STREAMS_MB: Final = sum(spec.max_bytes for spec in STREAMS) // _MB  # what they may grow to
_HTTP_S: Final = 2.0
_OF_EXTRA: Final = re.compile(r"""([\w.-]+)[^;]*;(.*)extra\s*==\s*["']([^"']+)["']""")


async def python() -> Sequence[Verdict]:
    """Which interpreter runs, and which Antiphon."""
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, Antiphon {VERSION}"
    return [Verdict(name="python", found=found)]


async def packages() -> Sequence[Verdict]:
    """Which extras are installed."""
    try:
        required = requires("antiphon") or []
    except PackageNotFoundError:
        found = "Antiphon runs from a folder and is not installed"
        return [Verdict(name="packages", status=Status.WARN, found=found, advice="pip install antiphon")]
    lacking = absent(required, _is_installed)
    parts = [f"{extra}: {'not installed' if names else 'installed'}" for extra, names in lacking.items()]
    without = [extra for extra, names in lacking.items() if names]
    advice = f"only if you want them: pip install 'antiphon[{','.join(without)}]'" if without else ""
    return [Verdict(name="packages", found="; ".join(parts) or "no extras", advice=advice)]


def absent(required: Iterable[str], is_installed: Callable[[str], bool]) -> dict[str, list[str]]:
    """The packages of each extra (but ``dev``) that are not there, of a distribution's requirements. Pure."""
    found: dict[str, list[str]] = {}
    for line in required:
        match = _OF_EXTRA.search(line)
        if match is None or match[3] == "dev":
            continue
        lacks = found.setdefault(match[3], [])
        elsewhere = re.search(r"""sys_platform\s*==\s*["'](\w+)["']""", match[2])
        if (elsewhere is None or elsewhere[1] == sys.platform) and not is_installed(match[1]):
            lacks.append(match[1])
    return found


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


async def open_files() -> Sequence[Verdict]:
    """How many files and connections a process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    few = not unlimited and soft < LEAST_FILES
    return [
        Verdict(
            name="open files",
            status=Status.WARN if few else Status.OK,
            found="no limit" if unlimited else f"up to {soft} in a process",
            advice=f"ulimit -n {LEAST_FILES} before a node or a server starts" if few else "",
        )
    ]


async def home(settings: Settings) -> Sequence[Verdict]:
    """Whether the home can be written to."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home) as file:
            file.write(b"antiphon")
    except OSError as error:
        found = f"{settings.home} cannot be written to: {error.strerror or error}"
        advice = "set ANTIPHON_HOME to a folder that is yours"
        return [Verdict(name="home", status=Status.FAIL, found=found, advice=advice)]
    return [Verdict(name="home", found=str(settings.home))]


async def disk(settings: Settings) -> Sequence[Verdict]:
    """Whether the store, and the streams of an embedded server, have room to grow."""
    folder = next(each for each in (settings.home, *settings.home.absolute().parents) if each.exists())
    free_mb = shutil.disk_usage(folder).free // _MB
    wanted_mb = settings.retention_mb + (_STREAMS_MB if settings.nats_url is None else 0)
    status = Status.FAIL if free_mb < LEAST_MB else Status.WARN if free_mb < wanted_mb else Status.OK
    return [
        Verdict(
            name="disk",
            status=status,
            found=f"{free_mb} MB free at {folder}, traces and streams may take {wanted_mb} MB",
            advice="" if status is Status.OK else "free some, lower retention_mb, or set ANTIPHON_HOME elsewhere",
        )
    ]


async def console(settings: Settings) -> Sequence[Verdict]:
    """Whether the console's port is free, or a console has it already."""
    host, port = settings.console_host, settings.console_port
    try:
        access = access_of(settings)
        if access.certificate is not None:
            access.certificate.check()
    except ConfigurationError as error:
        advice = "docs/console.md says who may look and act, and what it takes"
        return [Verdict(name="console", status=Status.FAIL, found=error.message, advice=advice)]
    address = access.address(port)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        if await asyncio.to_thread(_is_console, address):
            return [Verdict(name="console", found=f"one is up at {address}")]
        found = f"{address} cannot be used: {error.strerror or error}"
        advice = "stop what listens there, antiphon up --port 0, or set ANTIPHON_CONSOLE_PORT"
        return [Verdict(name="console", status=Status.WARN, found=found, advice=advice)]
    return [Verdict(name="console", found=f"{address} is free" if port else "takes any free port")]


def _is_console(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to it
    try:
        with opener.open(address.rstrip("/") + OPEN, timeout=_HTTP_S) as answer:
            return bool(answer.status == 200 and answer.read(16) == b"ok\n")
    except (OSError, ValueError):
        return False

"""Checks that are done together: their order, and those that never come back."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence

from antiphon.runtime.checkup.verdict import Check, Status, Verdict, examine
from antiphon.runtime.errors import ConfigurationError


async def fine() -> Sequence[Verdict]:
    """Two things at once."""
    return [Verdict(name="one", found="here"), Verdict(name="two", found="there", status=Status.WARN)]


async def wrong() -> Sequence[Verdict]:
    """One of ours."""
    raise ConfigurationError("no folder")


async def broken() -> Sequence[Verdict]:
    """Somebody else's."""
    raise KeyError("x")


def test_verdicts_come_in_the_order_of_the_checks() -> None:
    """What a check raises is its verdict, by message or by type."""
    found = list(
        examine(
            [
                Check(name="wrong", look=wrong),
                Check(name="fine", look=fine),
                Check(name="broken", look=broken, otherwise=Status.WARN),
            ]
        )
    )
    assert [(verdict.name, verdict.status, verdict.found) for verdict in found] == [
        ("wrong", Status.FAIL, "no folder"),
        ("one", Status.OK, "here"),
        ("two", Status.WARN, "there"),
        ("broken", Status.WARN, "KeyError: 'x'"),
    ]


def test_a_check_that_has_answered_leaves_no_thread() -> None:
    """One that frees tensors while Python ends would abort the process."""
    before = set(threading.enumerate())

    async def look() -> Sequence[Verdict]:
        await asyncio.to_thread(threading.get_ident)
        return await fine()

    assert len(list(examine([Check(name="fine", look=look)]))) == 2
    assert set(threading.enumerate()) <= before


def test_a_check_that_hangs_holds_up_nobody() -> None:
    """Waiting, swallowing its cancellation, or blocking its thread: it is told and left behind."""
    never = threading.Event()

    async def waits() -> Sequence[Verdict]:
        await asyncio.Event().wait()
        return []

    async def blocks() -> Sequence[Verdict]:
        never.wait(120)
        return []

    checks = [Check(name=look.__name__, look=look, deadline_s=0.2) for look in (waits, blocks)]
    found = list(examine([*checks, Check(name="fine", look=fine)]))
    never.set()
    assert [(verdict.name, verdict.found) for verdict in found] == [
        ("waits", "no answer in 0.2 s"),
        ("blocks", "no answer in 0.2 s"),
        ("one", "here"),
        ("two", "there"),
    ]


def test_a_process_ends_though_a_thread_of_a_check_does_not() -> None:
    """Python would wait at its exit for a name that is being looked up."""
    code = """
    import asyncio, threading
    from antiphon.runtime.checkup.verdict import Check, examine

    async def look():
        await asyncio.to_thread(threading.Event().wait)

    print([verdict.found for verdict in examine([Check(name="name", look=look, deadline_s=0.1)])])
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['no answer in 0.1 s']\n"), done.stderr

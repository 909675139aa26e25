"""The stage for ``insight.py``: a node, a console and customers; findings are applied as a person would."""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from customers import Customers
from insight_screen import Phase, Screen
from processes import console_address, process, wait_ready
from rich.console import Console

from antiphon import Client, Handler, Message, connect
from antiphon.agents.logging_agent.ladder import policy_of
from antiphon.agents.logging_agent.trial import entry_of
from antiphon.agents.logging_agent.verifier import FEWEST
from antiphon.runtime.cli.common import login
from antiphon.runtime.cli.findings import APPLY
from antiphon.runtime.cli.models import ensure_pulled
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.finding_log import FindingLog
from antiphon.runtime.models.setting import LocalSetting
from antiphon.runtime.settings import BUILT_IN_MODEL, PREFIX, load_settings
from antiphon.schemas.finding import Finding, FindingState, Grade, QualityRisk
from antiphon.schemas.finding_request import ApplyFinding
from antiphon.schemas.policy import Arms, Level

WATCH_S = 20.0  # at least, without a remedy: what is compared with at the end
FIND_S = 45.0  # until every crowd has a finding; then goes on with those there are
MEASURE_S = 90.0  # for the canaries
AFTER_S = 15.0  # with all verified remedies on
SETTLE_S = 3.0  # from a change until runs show it: nodes hear of it, and what was under way ends
WARM_S = 60.0  # until the model is loaded
POLL_S = 0.5
UNDER_WAY = frozenset({FindingState.OPEN, FindingState.CANARY})  # its state follows when what was asked is said
ENOUGH = 2  # verified findings, or the demo has failed


def main(
    system: Path, crowds: Sequence[tuple[Handler[Any, Any], int, float]], message: Callable[[int], Message]
) -> None:
    """Run the demo; status 0 only if two findings or more were verified."""
    arguments = _arguments()
    console = Console(stderr=arguments.json)
    try:
        with tempfile.TemporaryDirectory(prefix="antiphon-insight-") as home:
            _move(Path(home))
            show = asyncio.run(_run(system, crowds, message, console, keep=arguments.keep))
    except AntiphonError as error:
        console.print(f"[bold red]{type(error).__name__}:[/] {error.message}", highlight=False)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped; nothing is left running")
        sys.exit(130)
    if arguments.json:
        print(json.dumps(show.record()))
    sys.exit(0 if sum(finding.state is FindingState.VERIFIED for finding in show.findings) >= ENOUGH else 1)


def _move(home: Path) -> None:
    """Into a home of its own, with nobody's settings but the pulled model: policies are set, and must hit nothing else.

    Raises AntiphonError: the model cannot be pulled.
    """
    models_dir = load_settings().models_dir.absolute()
    ensure_pulled(LocalSetting(path=BUILT_IN_MODEL), models_dir)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ["ANTIPHON_HOME"] = str(home)
    os.environ["ANTIPHON_MODELS"] = json.dumps({BUILT_IN_MODEL: str(models_dir / BUILT_IN_MODEL)})
    os.chdir(home)


async def _run(
    system: Path,
    crowds: Sequence[tuple[Handler[Any, Any], int, float]],
    message: Callable[[int], Message],
    console: Console,
    *,
    keep: bool,
) -> "Show":
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    settings = load_settings()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(settings=settings))
        up = await stack.enter_async_context(process("up", "--port", "0"))
        address = await console_address(up)
        node = await stack.enter_async_context(process("run", f"{system}:system", "--no-console"))
        await wait_ready(client, [up, node])
        customers = Customers(client, crowds, message)
        show = Show(client, FindingLog(client.host.bus.streams, settings.tenant), customers, console)
        show.screen.say(f"a support desk, a logging agent and a console are up: {address}")
        for crowd in customers.crowds:
            await client.ask(crowd.handler, message(0), timeout_s=WARM_S)  # the model is loaded by the first who asks
        async with customers.here():
            await show.perform()
            console.print(f"console: {address}", soft_wrap=True, highlight=False)
            if keep:
                console.print("it goes on, and the console stays up; Ctrl-C ends both")
                await show.go_on()
    return show


class Show:
    """Watches the findings, applies them, and keeps the phases that are compared at the end."""

    def __init__(self, client: Client, log: FindingLog, customers: Customers, console: Console) -> None:
        self._client = client
        self._log = log
        self._customers = customers
        self._findings: dict[str, Finding] = {}
        self._asked: set[str] = set()
        self._tried: set[str] = set()  # and not refused
        self._served: set[str] = set()
        self._now_s = asyncio.get_running_loop().time
        self.screen = Screen(console, customers, self._findings, self._now_s)
        self._before = self._after = Phase(since_s=0.0, until_s=0.0)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The last word on each, candidates included."""
        return tuple(self._findings.values())

    def record(self) -> dict[str, Any]:
        """The outcome for programs."""
        return self.screen.record(self._before, self._after)

    async def perform(self) -> None:
        """Watch, apply and measure, compare. Raises AntiphonError: the bus or the logging agent is gone."""
        began_s = self._now_s()
        with self.screen.live():
            self.screen.say(f"customers come; nothing is changed for {WATCH_S:.0f} s or more")
            await self._until(lambda: self._has_seen(began_s), FIND_S)
            self._before = Phase(since_s=began_s + SETTLE_S, until_s=self._now_s())
            await self._until(self._is_measured, MEASURE_S, self._apply)
            since_s = self._now_s() + SETTLE_S
            await self._until(lambda: False, SETTLE_S + AFTER_S)
            self._after = Phase(since_s=since_s, until_s=self._now_s())
        self.screen.outcome(self._before, self._after)

    async def go_on(self) -> None:
        """Tell and apply what comes, until cancelled."""
        with self.screen.live():
            while True:
                await self._until(lambda: False, MEASURE_S, self._apply)

    async def _until(
        self, done: Callable[[], bool], limit_s: float, work: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        end_s = self._now_s() + limit_s
        while self._now_s() < end_s:
            await self._hear()
            if work is not None:
                await work()
            if done():
                return
            self.screen.pulse()
            await asyncio.sleep(POLL_S)

    async def _hear(self) -> None:
        for finding, _ in await self._log.news():
            before = self._findings.get(finding.id)
            self._findings[finding.id] = finding
            if before is not None and before.state is finding.state:
                continue
            if finding.state is FindingState.OPEN:
                self.screen.found(finding)
            elif finding.state is not FindingState.CANDIDATE:
                self.screen.changed(finding)

    async def _apply(self) -> None:
        """Try what may be tried, one remedy at a time for the same runs, and let serve all what was verified."""
        busy = {entry_of(finding) for finding in self._findings.values() if finding.state is FindingState.CANARY}
        for finding in list(self._findings.values()):
            if finding.state is FindingState.VERIFIED and finding.id not in self._served:
                self._served.add(finding.id)
                await self._ask(finding, Level.ON)
            elif _may_be_tried(finding) and finding.id not in self._asked and entry_of(finding) not in busy:
                busy.add(entry_of(finding))
                self._asked.add(finding.id)
                await self._ask(finding, Level.CANARY)

    async def _ask(self, finding: Finding, level: Level) -> None:
        sure = finding.grade is not Grade.A
        self.screen.command(f"findings apply {finding.id[:8]} --level {level}{' --yes' if sure else ''}")
        wish = ApplyFinding(finding=finding.id, level=level, sure=sure, by=login())
        try:
            said = await self._client.ask(APPLY, wish)
        except ConfigurationError as error:  # the ladder refuses it; a person would read why, and go on
            self.screen.say(f"  {error.message}", "red")
            return
        self._tried.add(finding.id)
        if level is Level.CANARY and (lasts_s := _by_slices_s(said)):
            self.screen.say(
                f"  its arms take turns, and that takes {lasts_s / 60:.0f} minutes or more to measure", "dim"
            )

    def _has_seen(self, began_s: float) -> bool:
        seen = {entry_of(finding) for finding in self._findings.values() if _may_be_tried(finding)}
        return self._now_s() - began_s >= WATCH_S and seen >= {crowd.entry for crowd in self._customers.crowds}

    def _is_measured(self) -> bool:
        """Whether nothing that was tried is under way that can end within the demo."""
        tried = (self._findings[id] for id in self._tried)
        return not any(finding.state in UNDER_WAY and not _by_slices_s(finding) for finding in tried)


def _may_be_tried(finding: Finding) -> bool:
    """Whether it is more than advice, and results stay as they are."""
    proven = finding.grade is not Grade.C and finding.quality_risk is QualityRisk.NONE
    return finding.state is FindingState.OPEN and finding.remedy.proposal is not None and proven


def _by_slices_s(finding: Finding) -> float:
    """How long its experiment takes at least if its arms are time slices; 0 if they are runs."""
    policy = policy_of(finding, Level.CANARY, now_ms=0)
    return 2 * FEWEST * policy.slice_s if policy.arms is Arms.TIME else 0.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C, the console with it")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, the rest as errors")
    return parser.parse_args()

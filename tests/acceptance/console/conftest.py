"""A console over recorded and real runs, and a browser that looks at it."""

import json
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif.testing import Traced
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving
from antiphon.schemas.policy import Cache, Level, Policy, Proposal, Timeout
from antiphon.schemas.telemetry import LogRecord, SpanRecord, TelemetryBatch

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

STUDIO = Path(__file__).with_name("studio.py")
AXE = Path(__file__).resolve().parents[3] / "runtime/console/client/node_modules/axe-core/axe.min.js"
HOSTILE = "<img src=x onerror=alert(1)>"
PATIENCE_MS = 120_000  # what usually takes milliseconds, on a machine that keeps back most of its processors
expect.set_options(timeout=PATIENCE_MS)
LONG = 12_000  # spans of the long run: enough for two requests of what is kept in columns
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Look:
    """A page that is open, and everything that it should not have done."""

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)

    def go(self, route: str) -> Page:
        """Open a view."""
        self.page.goto(f"{self.address}{route}")
        return self.page

    def violations(self) -> list[str]:
        """What axe says about the page as it is now, in both themes. Only colours are another in the second."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
        self.page.emulate_media(color_scheme="dark")
        found += self.page.evaluate("axe.run(document, {runOnly: ['color-contrast']}).then(r => r.violations)")
        self.page.emulate_media(color_scheme="light")
        return [f"{each['id']}: {node['target']}" for each in found for node in each["nodes"]]

    def overflow(self) -> int:
        """Pixels that the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def site(own: "Place") -> str:
    """The address, with its token, of a console whose store has some runs and findings, and of a node beside it."""
    own.home.mkdir(parents=True)
    with closing(Store.open(own.settings.store_path, clock=SystemClock())) as store:
        _record(store)
    node = own.start("run", f"{STUDIO}:system", "--name", "studio").says("Ctrl-C drains and stops")
    found = re.search(r"console: (\S+)", node.said)
    assert found is not None
    _decide(found[1])
    return found[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for longer than a file: while it is there, this thread has no event loop for others."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium, such as Debian's package of that name")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE_MS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that finds what some people could not use."""
    return AXE.read_text()


@pytest.fixture
def look(browser: Browser, site: str) -> Generator[Callable[..., Look], None, None]:
    """``look(width=1280)``: a fresh window; at the end nothing may have gone wrong in any of them."""
    opened: list[Look] = []

    def open_window(width: int = 1280) -> Look:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="light", accept_downloads=True
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        address = site.split("?")[0]
        view = Look(page, address)
        opened.append(view)

        def said(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                view.problems.append(message.text)

        def asked(request: Request) -> None:
            if not request.url.startswith((address, "blob:", "data:")):
                view.problems.append(f"asked for {request.url}")

        page.on("console", said)
        page.on("pageerror", lambda error: view.problems.append(str(error)))
        page.on("dialog", lambda dialog: view.problems.append(f"dialog {dialog.message}"))
        page.on("request", asked)
        page.goto(site)
        return view

    yield open_window
    for view in opened:
        view.page.context.close()
    assert [view.problems for view in opened if view.problems] == []


def _decide(site: str) -> None:
    """Policies at three levels that change nothing here, and one that is refused: it contradicts another."""
    address, _, token = site.partition("?token=")
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {token}"}, timeout=60) as program:
        for id, level, target, action, status in (
            ("patience", "on", "ask echo.again", Timeout(timeout_s=3_600), 200),
            ("haste", "canary", "ask teller.tell", Timeout(timeout_s=1_800), 200),
            ("from-a-finding", "suggest", "tool search", Cache(ttl_s=60), 200),
            ("again", "on", "ask echo.again", Timeout(timeout_s=60), 422),
        ):
            finding, reason = ("f2", HOSTILE) if level == "suggest" else (None, "")
            proposal = Proposal(action=action, target=target)
            policy = Policy(id=id, level=Level(level), proposal=proposal, finding=finding, reason=reason)
            wish = {"policy": policy.model_dump(mode="json"), "by": "ada"}
            answer = program.post("/api/actions/policy.set", json=wish)
            assert answer.status_code == status, answer.text


def _record(store: Store) -> None:
    """Three runs of a plan, a long run, and findings about them."""
    now_ms = time.time() * 1000 - 1_700_000_000_000
    number = 0
    for run in range(3):
        traced = _plan(run + 1, now_ms - 60_000 + run * 10_000)
        number += 1
        logs = [LogRecord(unix_ns=traced.at_ns + 10**8, level="info", event="begun", trace_id=traced.trace_id)]
        store.write([Received(batch=TelemetryBatch(node="n1", sequence=number, spans=traced.spans, logs=logs))])
    spans = _long(9, now_ms - 40_000)
    for at in range(0, len(spans), 1_000):
        number += 1
        store.write([Received(batch=TelemetryBatch(node="n1", sequence=number, spans=spans[at : at + 1_000], logs=[]))])
    store.put_findings(_findings())


def _plan(number: int, at_ms: float) -> Traced:
    traced = Traced(number, at_ms=at_ms, run=f"plan-{number}")
    root = traced.ask(None, "planner.plan", 0, 2_000, operation="submit")
    by: dict[str, Any] = {"operation": "call", "antiphon__agent": "planner"}
    writer = traced.ask(root, "writer.write", 100, 1_300, wait_ms=400, **by)
    asked, why = (f"Sum up {HOSTILE}", HOSTILE) if number == 1 else ("Sum up the minutes.", "no figures given")
    prompt = [{"role": "user", "parts": [{"type": "text", "content": asked}]}]
    reply = [{"role": "assistant", "parts": [{"type": "text", "content": "It says hello."}]}]
    content: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "antiphon.agent": "writer",
        "gen_ai.input.messages": json.dumps(prompt),
        "gen_ai.output.messages": json.dumps(reply),
        "gen_ai.usage.cache_read.input_tokens": 40,
        "antiphon.model.queue_s": 0.1,
        "antiphon.model.prefill_s": 0.2,
        "antiphon.model.decode_s": 0.4,
        attr.POOL_ID: "model:m@n1",
        attr.POOL_CAPACITY: 4,
        attr.POOL_ACTIVE: 2,
        attr.KV_USED: 3,
        attr.KV_TOTAL: 10,
        attr.GENAI_FIRST_CHUNK: 0.3,
        attr.COST_USD: 0.002,
    }
    traced.model(writer, 550, 1_250, **content)
    written = [traced.publish_of(writer).span_id.hex()]
    critic = traced.ask(root, "critic.review", 1_400, 1_900, causes=written, status=2, attempt=2, **by)
    critic.status_message = why
    tool: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "antiphon.agent": "critic"}
    traced.tool(critic, "search", 1_500, 1_700, **tool)
    for span in traced.spans:
        span.attributes.setdefault("antiphon.run", traced.run)
    return traced


def _long(number: int, at_ms: float) -> list[SpanRecord]:
    traced = Traced(number, at_ms=at_ms, run="long")
    root = traced.ask(None, "boss.go", 0, LONG, operation="submit")
    for n in range((LONG - 2) // 2):
        used = [traced.spans[2 * (n - back) + 2].span_id.hex() for back in (20, 21)] if n and n % 30 == 0 else []
        traced.ask(root, f"worker{n % 3}.work", n * 2, n * 2 + 30, causes=used, wait_ms=5, antiphon__agent="boss")
    for span in traced.spans:
        span.attributes.setdefault("antiphon.run", traced.run)
    return traced.spans


def _findings() -> list[Finding]:
    def saves(point: float) -> Saving:
        return Saving(latency_s=Estimate(point=point, low=point * 0.6, high=point * 1.5))

    plan = _plan(1, 0)
    common: dict[str, Any] = {
        "cohort": "planner.plan", "grade": Grade.A, "required": 3, "first_seen_unix_ms": 1, "last_seen_unix_ms": 2,
    }  # fmt: skip
    return [
        Finding(
            id="f1", pattern="p1", title="writer.write and critic.review wait for one another",
            subject="planner", state=FindingState.OPEN, support=5, saving=saves(0.5),
            remedy=Remedy(text="Gather them."), evidence_traces=(plan.trace_id.hex(),),
            evidence_spans=(plan.spans[3].span_id.hex(),), **common,
        ),
        Finding(
            id="f2", pattern="p3", title="tool search is asked the same twice", subject="search",
            state=FindingState.OPEN, support=9, saving=saves(0.2), realised=Realised(saving=saves(0.15), runs=(20, 21)),
            remedy=Remedy(text="Share it.", proposal=Proposal(action=Cache(ttl_s=60), target="tool search")), **common,
        ),
        Finding(
            id="f3", pattern="p9", title=HOSTILE, subject=HOSTILE, state=FindingState.DISMISSED, support=1,
            remedy=Remedy(text=HOSTILE), note=HOSTILE, **common,
        ),
    ]  # fmt: skip

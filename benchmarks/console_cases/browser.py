"""The long run in Debian's Chromium, drawn with no display and no GPU: when it is there, and how it scrolls."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from console_cases.record import LONG

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
SCROLL_S = 5.0
STEP = 96  # pixels a frame: four rows, 240 rows a second at 60 frames; a flung wheel is half as fast

# When the first frame with rows was drawn, and the first in which the tree was whole. A frame is drawn after its
# callback, so the next callback has the time.
_WATCH = """
window.seen = {};
const look = () => {
  const row = document.querySelector("[role=treeitem]");
  const size = row ? Number(row.getAttribute("aria-setsize")) : 0;
  if (row && !seen.first) requestAnimationFrame((t) => { seen.first ??= t; });
  if (size > 1000 && !seen.whole) requestAnimationFrame((t) => { seen.whole ??= t; });
  if (!seen.whole) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""

_SEEN = (
    "() => new Promise((done) => { const at = setInterval(() => seen.whole && (clearInterval(at), done(seen)), 50); })"
)

# Frames while something is scrolled one step a frame, from the top down and back at the end.
_SCROLL = """async ({selector, seconds, step}) => {
  const at = selector ? document.querySelector(selector) : null;
  const times = [];
  await new Promise((done) => {
    let way = step;
    const began = performance.now();
    const frame = () => {
      const now = performance.now();
      times.push(now);
      if (now - began > seconds * 1000) return done();
      if (at) {
        const before = at.scrollTop;
        at.scrollTop += way;
        if (at.scrollTop === before) way = -way;
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const gaps = times.slice(1).map((time, n) => time - times[n]).sort((a, b) => a - b);
  return {fps: gaps.length / (times.at(-1) - times[0]) * 1000, p95_ms: gaps[Math.floor(gaps.length * 0.95)]};
}"""

# A row is three elements and a bar; what is needed for a picture of the same run without a canvas or a window.
_PLAIN = """(count) => {
  const began = performance.now();
  const style = `.box { height: 600px; overflow: auto; font: 14px sans-serif }
    .row { position: relative; height: 24px; display: flex; justify-content: space-between }
    .row i { position: absolute; top: 6px; height: 12px; width: 2%; background: #5b8def }`;
  const rows = [];
  for (let n = 0; n < count; n++) {
    const bar = `<i style="left:${n % 1000 / 10}%"></i>`;
    rows.push(`<div class=row><span>call worker${n % 8}.work</span>${bar}<b>${n} ms</b></div>`);
  }
  document.body.innerHTML = `<style>${style}</style><div class=box>${rows.join("")}</div>`;
  const after = (done) => requestAnimationFrame(() => requestAnimationFrame(done));
  return new Promise((done) => after(() => done((performance.now() - began) / 1000)));
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrolled:
    """Frames a second, and the longest but for one in twenty of the times between two."""

    fps: float
    p95_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Seconds from asking for the page to its first rows, and to all of them; scrolling in both orders; beside it a
    page that does nothing, and one with an element for each row."""

    first_s: float
    whole_s: float
    by_time: Scrolled
    by_agent: Scrolled
    empty: Scrolled
    plain_s: float
    plain: Scrolled


def look(address: str, rows: int) -> Seen | None:
    """None where there is no Chromium."""
    with _browser() as browser:
        return None if browser is None else _look(browser, address, rows)


def _look(browser: Browser, address: str, rows: int) -> Seen:
    page = _window(browser)
    empty = _scroll(page, "")
    page.goto(address)  # the token becomes a cookie
    page.get_by_role("heading", name="Runs").wait_for()
    page.add_init_script(_WATCH)
    page.goto("about:blank")
    page.goto(f"{address.partition('?')[0]}#/runs/{LONG}")
    seen = page.evaluate(_SEEN)
    by_time = _scroll(page, ".fall-scroll")
    page.get_by_role("button", name="by agent").click()
    by_agent = _scroll(page, ".fall-scroll")
    page = _window(browser)
    plain_s = page.evaluate(_PLAIN, rows)
    plain = _scroll(page, ".box")
    return Seen(
        first_s=seen["first"] / 1000, whole_s=seen["whole"] / 1000, by_time=by_time, by_agent=by_agent, empty=empty,
        plain_s=plain_s, plain=plain,
    )  # fmt: skip


def _window(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    return page


def _scroll(page: Page, selector: str) -> Scrolled:
    found: dict[str, Any] = page.evaluate(_SCROLL, {"selector": selector, "seconds": SCROLL_S, "step": STEP})
    return Scrolled(**found)


@contextmanager
def _browser() -> Iterator[Browser | None]:
    path = shutil.which("chromium")
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()

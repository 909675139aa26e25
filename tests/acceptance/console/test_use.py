"""What people do with the console, in a real browser, on real and recorded runs."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from playwright.sync_api import Page, Route, expect

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place
    from tests.acceptance.console.conftest import Look

Open = Callable[..., "Look"]
HOSTILE = "<img src=x onerror=alert(1)>"
MISSED = 450  # messages: more than two answers, less than a page keeps


def act(page: Page, site: str, action: str, **wish: object) -> None:
    """One of the console's actions, as a program does it."""
    address, _, token = site.partition("?token=")
    said = page.request.post(f"{address}api/actions/{action}", data=wish, headers={"authorization": f"Bearer {token}"})
    assert said.ok, said.text()


def trace_of(name: str) -> str:
    """An id of its own."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def told(page: Page, site: str, name: str, count: int, *, runs: bool = False) -> None:
    """Spans of another program: so many messages, all in one trace, or runs of an agent named visitor."""
    address, _, token = site.partition("?token=")
    now_ns = time.time_ns()
    of_run = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "visitor"}
    spans = []
    for n in range(count):
        at_ns = now_ns + n * 1_000
        given = of_run if runs else {"messaging.destination.name": f"others.{name}.{n}"}
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in given.items()]
        span = {"traceId": trace_of(f"{name} {n if runs else 0}"), "spanId": f"{n + 1:016x}", "name": f"{name} {n}"}
        times = {"startTimeUnixNano": str(at_ns), "endTimeUnixNano": str(at_ns + 500)}
        spans.append({**span, **times, "kind": 1 if runs else 4, "attributes": attributes})
    said = page.request.post(
        f"{address}v1/traces",
        data={"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": spans}]}]},
        headers={"authorization": f"Bearer {token}"},
    )
    assert said.ok, said.text()


def say(page: Page, text: str) -> None:
    """One question in Chat, to its answer."""
    page.get_by_label("agent", exact=True).select_option("teller.tell")
    page.get_by_label("to teller.tell").fill(text)
    page.get_by_role("button", name="send").click()
    expect(page.get_by_text(f"you said: {text}")).to_be_visible()


def test_chat_answers_and_leads_to_its_run(look: Open) -> None:
    """A text goes to an agent, its answer comes, and the run has what happened; Runs had it without a reload."""
    runs, view = look(), look()
    expect(runs.go("#/runs").get_by_role("heading", name="Runs")).to_be_visible()
    before = runs.page.get_by_role("link", name="teller.tell").count()
    page = view.go("#/chat")
    expect(runs.page.locator(".series figure").first).to_be_visible()
    with runs.page.expect_request(re.compile("/api/series")):  # the sparklines go on too
        say(page, "good morning")
    expect(runs.page.get_by_role("link", name="teller.tell")).to_have_count(before + 1)
    page.get_by_role("link", name="run", exact=True).click()
    for name in ("submit teller.tell", "call echo.again", "ask echo.again", "execute_tool search"):
        expect(page.get_by_role("treeitem").filter(has_text=name).first).to_be_visible()


def test_runs_are_filtered_by_what_is_in_the_address(look: Open) -> None:
    """A filter changes list and address, and names are suggested; more filters go to the server."""
    page = look().go("#/runs")
    page.get_by_label("agent", exact=True).focus()
    expect(page.locator("#suggested-agent option[value=critic]")).to_be_attached()
    page.get_by_label("agent", exact=True).fill("critic")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="planner.plan")).to_have_count(3)
    expect(page.get_by_role("link", name="boss.go")).to_have_count(0)
    assert "agent=critic" in page.url
    page.get_by_role("button", name="more filters").click()
    page.get_by_label("at least ms").fill("60000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No runs here.")).to_be_visible()


def test_a_store_that_was_damaged_is_no_secret(look: Open, own: "Place") -> None:
    """Runs says why the history is gone and where it is, until somebody takes the file away."""
    path = own.settings.store_path
    damaged = path.with_name(f"{path.name}.corrupt-1700000000000")
    damaged.touch()
    page = look().go("#/runs")
    expect(page.get_by_role("status").filter(has_text=damaged.name)).to_be_visible()
    damaged.unlink()
    page.reload()
    expect(page.get_by_role("link", name="planner.plan").first).to_be_visible()
    expect(page.get_by_text("was damaged")).to_have_count(0)


def test_the_keyboard_alone_leads_from_runs_to_a_span_and_back(look: Open) -> None:
    """Tab, Enter, arrows, slash, Escape: to a run, through its rows, into details and out again."""
    page = look().go("#/runs?agent=critic")
    expect(page.get_by_role("link", name="planner.plan")).to_have_count(3)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "planner.plan":
            break
    page.keyboard.press("Enter")
    tree = page.get_by_role("tree", name="work of this run")
    expect(tree).to_be_visible()
    for _ in range(40):
        if tree.evaluate("at => at === document.activeElement"):
            break
        page.keyboard.press("Tab")
    chosen = page.locator("[role=treeitem][aria-selected=true]")
    expect(chosen).to_contain_text("submit planner.plan")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(chosen).to_contain_text("chat m")
    page.keyboard.press("ArrowLeft")
    expect(chosen).to_contain_text("call writer.write")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("treeitem").filter(has_text="chat m")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("/")
    page.keyboard.type("chat")
    page.keyboard.press("Enter")
    expect(chosen).to_contain_text("chat m")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    details = page.get_by_role("complementary", name="Details")
    expect(details).to_contain_text("It says hello.")
    expect(details).to_contain_text("100 tokens in, 40 of them cached (40 %); 20 out")
    expect(details.get_by_role("heading", name="chat m")).to_be_focused()
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)
    expect(tree).to_be_focused()


def test_a_long_run_is_drawn_a_window_at_a_time(look: Open) -> None:
    """Twelve thousand spans in half as many rows, a few dozen elements; the last row is one key away, lanes are few."""
    page = look().go("#/runs/long")
    rows = page.get_by_role("treeitem")
    expect(rows.first).to_have_attribute("aria-setsize", "6000")
    assert rows.count() < 60
    tree = page.get_by_role("tree", name="work of this run")
    tree.focus()
    page.keyboard.press("End")
    expect(page.locator("[aria-selected=true]")).to_have_attribute("aria-posinset", "6000")
    page.get_by_label("find in this run").fill("worker2")
    expect(page.get_by_text(re.compile(r"^1,\d{3} found$"))).to_be_visible()
    page.get_by_role("button", name="by agent").click()
    expect(rows.filter(has_text="worker2").first).to_contain_text("pieces of work")
    spent = page.get_by_role("row").filter(has_text="worker2")
    expect(spent).to_contain_text("1,999")  # all of them, not those of the spans that came first


def test_a_long_run_shows_what_came_together(look: Open) -> None:
    """A call that used two results says so, and leads to the work it used, which ended before it."""
    page = look().go("#/runs/long")
    expect(page.get_by_role("treeitem").first).to_have_attribute("aria-setsize", "6000")
    page.get_by_label("find in this run").fill("joins 2")
    expect(page.get_by_text("199 found")).to_be_visible()
    page.keyboard.press("Enter")
    chosen = page.locator("[role=treeitem][aria-selected=true]")
    expect(chosen).to_contain_text("ask worker0.work")
    expect(chosen).to_have_attribute("aria-posinset", "32")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    used = page.get_by_role("complementary", name="Details").get_by_text("continues").get_by_role("button")
    expect(used).to_have_count(2)
    used.first.click()
    expect(chosen).to_have_attribute("aria-posinset", re.compile("^1[12]$"))


def test_evidence_of_a_finding_opens_the_run_at_its_spans(look: Open) -> None:
    """The prediction has an interval; the link marks the rows and selects the first."""
    page = look().go("#/findings")
    card = page.get_by_role("article", name=re.compile("wait for one another"))
    expect(card).to_contain_text("500 ms")
    expect(card).to_contain_text("300 ms to 750 ms")
    expect(card.get_by_role("button", name=re.compile("shadow"))).to_have_count(0)
    card.get_by_role("link").first.click()
    expect(page.get_by_text("1 row is evidence of a")).to_be_visible()
    expect(page.locator("[aria-selected=true]")).to_contain_text("writer.write")


def test_the_buttons_of_a_finding_reach_the_logging_agent(look: Open) -> None:
    """A remedy that a policy can carry out has every step; the agent, which never found this one, says so."""
    view = look()
    page = view.go("#/findings")
    card = page.get_by_role("article", name=re.compile("the same twice"))
    expect(card).to_contain_text("in 20 runs with and 21 without it")
    for step in ("shadow", "canary", "on"):
        expect(card.get_by_role("button", name=f"{step}: tool search")).to_be_visible()
    card.get_by_role("button", name=re.compile("^dismiss")).click()
    expect(page.get_by_role("alert")).to_contain_text("no finding begins with 'f2'")
    view.problems.clear()  # the browser logs the refusal


def test_a_person_answers_and_a_dead_letter_is_seen(look: Open) -> None:
    """A form made of a schema submits; the question waits in Live and is answered edited; what died can be redriven."""
    view = look()
    page = view.go("#/tasks")
    page.get_by_text("Submit a task").click()
    page.get_by_label("handler", exact=True).select_option("shop.refund")
    page.get_by_label("customer").fill("ada")
    page.get_by_role("button", name="submit shop.refund").click()
    expect(page.get_by_text("Submitted:")).to_be_visible()
    page.get_by_label("handler", exact=True).select_option("shop.fail")
    page.get_by_role("button", name="submit shop.fail").click()

    page = view.go("#/live")
    question = page.get_by_role("article", name="shop.refund asks")
    expect(question).to_contain_text('"customer": "ada"')
    question.get_by_role("button", name="edit").click()
    question.get_by_label("proposal").fill('{"customer": "ada", "cents": 7}')
    question.get_by_role("button", name="approve as edited").click()
    expect(question).to_have_count(0)

    page = view.go("#/tasks")
    letters = page.get_by_role("region", name="Dead letters")
    expect(letters).to_contain_text("the shop is closed")
    expect(letters.get_by_role("button", name=re.compile("^redrive"))).to_be_visible()
    tasks = page.get_by_role("region", name="Tasks")
    expect(tasks.get_by_text("succeeded").first).to_be_visible()
    page.get_by_label("state", exact=True).select_option("dead")
    expect(tasks.get_by_role("row").filter(has_text="shop.fail")).to_have_count(1)
    expect(tasks.get_by_text("succeeded")).to_have_count(0)
    page.get_by_label("state", exact=True).select_option("parked")
    expect(page.get_by_text("No task is parked.")).to_be_visible()


def test_tasks_and_letters_come_by_themselves(look: Open, site: str) -> None:
    """Who looks at the page sees a task park and another die, without a reload."""
    page = look().go("#/tasks?state=parked")
    letters = page.get_by_role("region", name="Dead letters").get_by_role("row")
    expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()
    before = letters.count()
    act(page, site, "task.submit", agent="shop", handler="fail", message={})
    act(page, site, "task.submit", agent="shop", handler="refund", message={"customer": "eve"})
    row = page.get_by_role("region", name="Tasks").get_by_role("row").filter(has_text="shop.refund")
    expect(row).to_contain_text("waits for approval")
    expect(letters).to_have_count(before + 1 if before else 2)  # the first brings a heading
    row.get_by_role("button", name=re.compile("^cancel")).click()
    expect(row).to_have_count(0)


def test_what_a_write_in_doubt_returned_is_sent(look: Open) -> None:
    """Told by a person, as JSON; nothing is sent that is none, and nothing told is null."""
    page = look().go("#/live")
    letter = {
        "number": 7, "agent": "shop", "task": "t7", "subject": "antiphon.default.task.shop.pay", "attempts": 1,
        "reason": {"type": "InDoubt", "message": "tool pay was called"}, "unix_ms": 1, "in_doubt": True,
    }  # fmt: skip
    sent: list[object] = []

    def redrive(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or "")["resolution"])
        route.fulfill(json={"result": {}})

    page.route("**/api/dead", lambda route: route.fulfill(json={"letters": [letter], "truncated": False}))
    page.route("**/api/actions/letter.redrive", redrive)
    page.get_by_role("link", name="Tasks").click()
    happened = page.get_by_role("button", name="redrive: it happened, letter 7")
    returned = page.get_by_label("what the write of letter 7 returned, as JSON")
    happened.click()
    returned.fill("booked")
    happened.click()
    expect(page.get_by_role("alert")).to_contain_text("no JSON")
    returned.fill('{"receipt": 3}')
    happened.click()
    expect(page.get_by_role("alert")).to_have_count(0)
    with page.expect_response("**/letter.redrive"):
        page.get_by_role("button", name="redrive: it did not, letter 7").click()
    assert sent == [{"done": True, "value": None}, {"done": True, "value": {"receipt": 3}}, {"done": False}]


def test_a_policy_is_set_changed_and_removed_and_all_of_it_noted(look: Open) -> None:
    """From a form of its kind's schema; a contradiction is an error, and the audit log has who did what."""
    view = look()
    page = view.go("#/policies")
    page.get_by_text("Set a policy").click()
    page.get_by_label("kind").select_option("timeout")
    assert view.violations() == []
    page.get_by_label(re.compile("^target")).fill("tool search")
    page.get_by_label(re.compile("^timeout_s")).fill("5")
    page.get_by_label(re.compile("^level")).select_option("on")
    page.get_by_label(re.compile("^reason")).fill(HOSTILE)
    page.get_by_role("button", name="set the policy").click()
    row = page.get_by_role("row", name=re.compile("^timeout-tool-search"))
    for text in ("timeout timeout_s=5", "tool search", "everybody", "on", "owner", HOSTILE):
        expect(row).to_contain_text(text)

    page.get_by_text("Set a policy").click()
    page.get_by_label("kind").select_option("timeout")
    page.get_by_label(re.compile("^target")).fill("tool search")
    page.get_by_label(re.compile("^timeout_s")).fill("9")
    page.get_by_label(re.compile("^level")).select_option("canary")
    page.get_by_label(re.compile("^id")).fill("another")
    page.get_by_role("button", name="set the policy").click()
    expect(page.get_by_role("alert")).to_contain_text("both change timeout of 'tool search'")
    view.problems.clear()  # the browser logs the refusal

    row.get_by_role("button", name="change timeout-tool-search").click()
    expect(page.get_by_label(re.compile("^timeout_s"))).to_have_value("5")
    page.get_by_label(re.compile("^level")).select_option("canary")
    page.get_by_label(re.compile("^share")).fill("0.2")
    page.get_by_role("button", name="set the policy").click()
    expect(row).to_contain_text("canary 20 % of runs")
    row.get_by_role("button", name="remove timeout-tool-search").click()
    expect(row).to_have_count(0)

    actions = view.go("#/audit").get_by_role("region", name="Actions")
    for n, (action, outcome) in enumerate(
        [("policy.remove", "ok"), ("policy.set", "ok"), ("policy.set", "failed"), ("policy.set", "ok")]
    ):
        line = actions.get_by_role("row").nth(n + 1)
        for text in (action, outcome, "owner", "timeout-tool-search" if outcome == "ok" else "both change"):
            expect(line).to_contain_text(text)


def test_messages_are_filtered_by_subject(look: Open) -> None:
    """NATS wildcards; what does not fit is not there."""
    view = look()
    say(view.go("#/chat"), "once more")
    page = view.go("#/live?filter=antiphon.*.ask.>")
    messages = page.get_by_role("region", name="Messages")
    expect(messages).to_contain_text("antiphon.default.ask.echo.again")
    assert "antiphon.default.task" not in messages.inner_text()


def test_a_pause_keeps_messages_as_they_are(look: Open, site: str) -> None:
    """Another page goes on with the same news; who goes on later gets all that was missed, however much it was."""
    paused, other = look().go("#/live?filter=others.>"), look().go("#/live?filter=others.>")
    told(paused, site, "first", 1)
    for page in (paused, other):
        expect(page.get_by_role("row").filter(has_text="others.first.0")).to_have_count(1)
    paused.get_by_role("button", name="pause").click()
    told(paused, site, "later", MISSED)
    expect(other.get_by_role("row").filter(has_text="others.later.")).to_have_count(MISSED)
    expect(paused.get_by_role("row").filter(has_text="others.later.")).to_have_count(0)
    paused.get_by_role("button", name="go on").click()
    expect(paused.get_by_role("row").filter(has_text="others.later.")).to_have_count(MISSED)


def test_topology_shows_recorded_edges(look: Open) -> None:
    """Who asked whom, as a picture and in words; a node leads to its runs, a subject to its messages."""
    view = look()
    say(view.go("#/chat"), "hello there")
    page = view.go("#/topology")
    called = page.get_by_role("row", name=re.compile("teller call echo"))
    called.get_by_role("link", name=re.compile(r"^antiphon\.default\.\w+\.echo\.\w+$")).click()
    expect(page.get_by_role("searchbox")).to_have_value(re.compile(r"\.echo\."))
    expect(page.get_by_role("cell", name=re.compile(r"\.echo\.")).first).to_be_visible()
    page = view.go("#/topology")
    expect(page.get_by_role("row", name=re.compile("teller agent"))).to_be_visible()
    page.locator(".react-flow__node").filter(has_text="critic").click()
    expect(page.get_by_role("link", name="planner.plan")).to_have_count(3)


def test_what_if_replays_with_a_slider_moved(look: Open) -> None:
    """A model twice as fast: before and after, with an interval, and one run step by step."""
    page = look().go("#/whatif?run=plan-1")
    slider = page.get_by_role("slider", name=re.compile("^m is"))
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="replay").click()
    answer = page.get_by_role("region", name="Before and after")
    expect(answer).to_contain_text("latency, mean")
    expect(page.get_by_role("heading", name="One run, before and after")).to_be_visible()


def test_sql_answers_and_cannot_write(look: Open) -> None:
    """The question that stands there, another, its table, its file, where that ends, and what is refused."""
    view = look()
    page = view.go("#/sql")
    answer = page.get_by_role("region", name="Answer")
    page.get_by_role("button", name="ask").click()
    expect(answer.get_by_role("row").filter(has_text="planner.plan")).to_have_count(3)
    page.get_by_label("query").fill("SELECT hex(span_id) FROM spans")
    page.get_by_role("button", name="ask").click()
    expect(page.get_by_text("1,000 rows in")).to_contain_text("there are more; the file holds up to 10,000")
    with page.expect_download() as file:
        page.get_by_role("button", name="as CSV").click()
    assert len(file.value.path().read_text().split()) == 10_001
    expect(page.get_by_text("The file is not all of it")).to_be_visible()
    page.get_by_label("query").fill("SELECT run FROM runs WHERE run LIKE 'plan-%' ORDER BY run")
    page.get_by_role("button", name="ask").click()
    expect(answer).to_contain_text("plan-3")
    with page.expect_download() as file:
        page.get_by_role("button", name="as CSV").click()
    assert file.value.path().read_text().split() == ["run", "plan-1", "plan-2", "plan-3"]
    expect(page.get_by_text("The file is not all of it")).to_have_count(0)
    page.get_by_label("query").fill("DELETE FROM runs")
    page.get_by_role("button", name="ask").click()
    expect(page.get_by_role("alert")).to_be_visible()
    view.problems.clear()  # the browser logs the refusal


def test_what_if_has_slots_of_models_too(look: Open) -> None:
    """Where the record says how many calls a model serves at a time."""
    page = look().go("#/whatif?run=plan-1")
    slider = page.get_by_role("slider", name=re.compile("^slots of m:"))
    expect(slider).to_have_value("4")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("slots of m: 5 (was 4)")).to_be_visible()
    page.get_by_role("button", name="replay").click()
    expect(page.get_by_role("region", name="Before and after")).to_contain_text("latency, mean")


def test_runs_stay_in_the_list_while_others_come(look: Open, site: str) -> None:
    """Whoever asked for older ones keeps all of them: what comes does not push out what was there."""
    page = look().go("#/runs?agent=visitor")
    told(page, site, "visit", 60, runs=True)
    rows = page.get_by_role("region", name="Runs").get_by_role("link")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="older runs").click()
    expect(rows).to_have_count(60)
    for more in range(1, 3):
        told(page, site, f"again{more}", 55, runs=True)
        expect(rows).to_have_count(60 + 55 * more)
    expect(rows.first).to_have_attribute("href", f"#/runs/{trace_of('again2 54')}")
    expect(rows.last).to_have_attribute("href", f"#/runs/{trace_of('visit 0')}")


def test_two_runs_are_compared(look: Open) -> None:
    """Chosen in the list, aligned by name and place."""
    page = look().go("#/runs?agent=critic")
    boxes = page.get_by_role("checkbox", name=re.compile("^compare"))
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("link", name="Compare the two").click()
    work = page.get_by_role("region", name="Work of both")
    expect(work).to_contain_text("model m")
    expect(page.get_by_role("region", name="Critical paths")).to_contain_text("writer.write")

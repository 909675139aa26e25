"""The console changes things by named actions only, for its own page only, and notes each."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from antiphon.runtime.finding_log import FindingLog
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.policy import Level, Policy, Proposal, Timeout


def finding(**more: Any) -> Finding:
    proposal = Proposal(action=Timeout(timeout_s=60), target="ask clerk.note")
    given = {
        "id": "F1", "pattern": "p1", "title": "<b>twice</b>", "cohort": "clerk.note", "subject": "clerk",
        "state": FindingState.OPEN, "grade": Grade.A, "support": 9, "required": 5,
        "remedy": Remedy(text="give up sooner", proposal=proposal), "first_seen_unix_ms": 1, "last_seen_unix_ms": 2,
        **more,
    }  # fmt: skip
    return Finding(**given)


async def test_a_task_is_submitted_followed_and_scored(console: Any) -> None:
    """From a form, checked by the handler's schema; its events come; the run is judged."""
    task = (await console.act("task.submit", agent="clerk", handler="note", message={"text": "hi"})).json()["result"]
    rows = await console.until("/api/tasks", lambda found: any(each["state"] == "succeeded" for each in found["tasks"]))
    assert [(each["task"], each["handler"]) for each in rows["tasks"]] == [(task["task"], "clerk.note")]
    assert (await console.get(f"/api/tasks/{task['task']}"))["value"]["text"] == "hi"
    events = (await console.http.get(f"/api/tasks/{task['task']}/events")).text
    assert "event: end" in events and '"text":"hi"' in events
    assert (await console.act("run.score", run=task["run"], name="good", value=1)).json()["result"] == {"scored": True}
    wrong = await console.act("task.submit", agent="clerk", handler="note", message={"text": 3})
    assert wrong.status_code == 422 and "text" in wrong.json()["error"]["message"]
    assert (await console.act("task.cancel", task=task["task"])).json()["result"] == {"cancelled": False}


async def test_an_approval_is_edited_and_answered_once(console: Any) -> None:
    """The task goes on with what the person made of the proposal."""
    task = (await console.act("task.submit", agent="clerk", handler="note", message={"text": "ask"})).json()["result"]
    (open_,) = (await console.until("/api/approvals", lambda found: found["approvals"]))["approvals"]
    bad = await console.act("approval.answer", id=open_["id"], approved=True, value={"text": 3})
    assert bad.status_code == 422
    done = await console.act("approval.answer", id=open_["id"], approved=True, value={"text": "yes"}, by="ada")
    assert done.json()["result"]["state"] == "approved"
    ended = await console.until(f"/api/tasks/{task['task']}", lambda found: found["state"] == "succeeded")
    assert ended["value"]["text"] == "yes"
    again = await console.act("approval.answer", id=open_["id"], approved=False)
    assert again.status_code in (404, 409)


async def test_tasks_are_found_by_state(console: Any) -> None:
    """Parked and dead ones among all others; a parked one also when the record has forgotten its run."""
    made: dict[str, list[str]] = {}
    for text in ("hi", "break", "ask", "ask"):
        answer = await console.act("task.submit", agent="clerk", handler="note", message={"text": text})
        made.setdefault(text, []).append(answer.json()["result"]["task"])
    await console.until("/api/dead", lambda found: found["letters"])
    await console.until("/api/tasks", lambda found: len(found["tasks"]) == 1, state="succeeded")
    dead = await console.until("/api/tasks", lambda found: found["tasks"], state="dead")
    assert [(each["task"], each["state"], each["letter"] > 0) for each in dead["tasks"]] == [
        (made["break"][0], "dead", True)
    ]
    parked = await console.until("/api/tasks", lambda found: len(found["tasks"]) == 2, state="parked")
    assert {(each["task"], each["run"], each["handler"], tuple(each["waits"])) for each in parked["tasks"]} == {
        (task, task, "clerk.note", ("approval",)) for task in made["ask"]
    }
    first = await console.get("/api/tasks", state="parked", limit=1)
    rest = await console.get("/api/tasks", state="parked", limit=1, after=first["next"])
    assert {each["task"] for page in (first, rest) for each in page["tasks"]} == set(made["ask"])
    assert rest["next"] is None
    every = await console.until("/api/tasks", lambda found: len(found["tasks"]) == 4)
    assert sorted(each["state"] for each in every["tasks"]) == ["dead", "parked", "parked", "succeeded"]
    for state in ("running", "queued", "failed", "cancelled"):
        assert (await console.get("/api/tasks", state=state))["tasks"] == []
    assert (await console.http.get("/api/tasks?state=lost")).status_code == 400

    await console.client.host.parking.put(
        ParkedTask(task="old", run="gone", agent="clerk", handler="note", version="1", number=1, waits=(),
                   parked_unix_ms=1)
    )  # fmt: skip
    last = (await console.get("/api/tasks", state="parked"))["tasks"][-1]
    assert (last["task"], last["run"], last["start_unix_ms"]) == ("old", "gone", 1)


async def test_dead_letters_are_redriven_and_dropped(console: Any) -> None:
    """With the reason they died of."""
    await console.act("task.submit", agent="clerk", handler="note", message={"text": "break"})
    (letter,) = (await console.until("/api/dead", lambda found: found["letters"]))["letters"]
    assert letter["agent"] == "clerk" and "broken" in letter["reason"]["message"] and not letter["in_doubt"]
    sent = await console.act("letter.redrive", number=letter["number"], resolution={"done": True})
    assert sent.status_code == 422  # it did not die in doubt
    dropped = await console.act("letter.drop", number=letter["number"])
    assert dropped.json().get("result") == {"dropped": True}, dropped.text
    assert (await console.get("/api/dead"))["letters"] == []
    assert (await console.act("letter.drop", number=letter["number"])).status_code == 404


async def test_a_finding_goes_up_and_down_the_ladder(console: Any) -> None:
    """Through the logging agent, which says what then is true."""
    await FindingLog(console.client.host.bus.streams, "default").append(finding())
    applied = await console.act("finding.apply", finding="F1", level="on")
    assert applied.json().get("result", {}).get("state") == "applied", applied.text
    (policy,) = (await console.get("/api/policies"))["policies"]
    assert (policy["level"], policy["finding"]) == ("on", "F1")
    assert (await console.act("finding.rollback", finding="F1")).json()["result"]["state"] == "dismissed"
    assert (await console.get("/api/policies"))["policies"] == []
    assert (await console.act("finding.apply", finding="F1", level="suggest")).status_code == 422
    assert (await console.act("finding.dismiss", finding="nope")).status_code == 422
    shown = await console.until("/api/findings", lambda found: found["findings"])
    assert shown["findings"][0]["title"] == "<b>twice</b>"


async def test_policies_are_set_and_removed(console: Any) -> None:
    """As `antiphon policy` does it."""
    policy = {"id": "p", "proposal": {"action": {"kind": "timeout", "timeout_s": 60}, "target": "ask clerk.note"}}
    stored = await console.act("policy.set", policy=policy)
    assert stored.status_code == 200, stored.text
    assert [each["id"] for each in (await console.get("/api/policies"))["policies"]] == ["p"]
    assert (await console.act("policy.remove", id="p")).json()["result"] == {"removed": True}
    assert (await console.act("policy.set", policy={**policy, "proposal": {}})).status_code == 422


async def test_policies_that_contradict_each_other_are_said(console: Any) -> None:
    """One cannot be set; of two that nodes stored at the same moment, the answer names both."""
    proposal = Proposal(action=Timeout(timeout_s=60), target="ask clerk.note")
    bucket = await console.client.host.bus.buckets.open("antiphon_policies")
    for id in ("p", "q"):
        stored = Policy(id=id, level=Level.ON, proposal=proposal)
        await bucket.put(f"default.{id}", stored.model_dump_json().encode())
    found = await console.get("/api/policies")
    assert [each["id"] for each in found["policies"]] == ["p", "q"]
    (said,) = found["contradictions"]
    assert "policies 'p' and 'q' both change timeout of 'ask clerk.note'" in said
    refused = await console.act("policy.set", policy={**stored.model_dump(mode="json"), "id": "r"})
    assert refused.status_code == 422 and "both change" in refused.json()["error"]["message"]
    assert (await console.act("policy.remove", id="q")).status_code == 200
    assert (await console.get("/api/policies"))["contradictions"] == []


async def test_every_action_is_in_the_audit_log(console: Any) -> None:
    """Refused ones too, with why; a form that cannot be read is no action."""
    await console.act("policy.remove", id="nope", by="ada")
    await console.act("task.cancel", task="nope")
    assert (await console.act("task.cancel")).status_code == 422
    assert (await console.act("everything.delete")).status_code == 404
    log = (await console.get("/api/audit"))["actions"]
    assert [(each["action"], each["by"], each["outcome"]) for each in log] == [
        ("task.cancel", "owner", "failed"),
        ("policy.remove", "ada", "ok"),
    ]
    assert log[0]["arguments"] == {"task": "nope"} and "no trace of a task" in log[0]["message"]


async def test_what_people_say_to_agents_is_not_in_the_audit_log(console: Any) -> None:
    """Nor in why something failed: there is a hash, equal for equal content, and a size."""
    said = {"text": "the secret of the house"}
    for _ in range(2):
        await console.act("task.submit", agent="clerk", handler="note", message=said)
    wrong = await console.act("task.submit", agent="clerk", handler="note", message={"text": ["a secret"]})
    assert "a secret" in wrong.json()["error"]["message"]  # whoever said it is told
    await console.act("approval.answer", id="x", approved=True, value=said, comment="fine")
    await console.act("letter.redrive", number=1, resolution={"done": True, "value": said})
    log = (await console.get("/api/audit"))["actions"]
    rows = await console.http.post("/api/sql", json={"query": "SELECT * FROM audit"})
    assert len(log) == 5 and "secret" not in f"{log}{rows.text}"
    redriven, answered, refused, second, first = (each["arguments"] for each in log)
    assert first == second and first["message"]["bytes"] == len('{"text": "the secret of the house"}')
    assert first["message"] == answered["value"] == redriven["resolution"]["value"] != refused["message"]
    assert answered["comment"] == "fine" and log[2]["message"].startswith("InvalidMessage")


async def test_captured_contents_are_in_the_audit_log(studio: Any) -> None:
    """Whole, with the settings' leave."""
    async with studio.open(capture_content=True) as console:
        await console.act("task.submit", agent="clerk", handler="note", message={"text": "hi"})
        (act,) = (await console.get("/api/audit"))["actions"]
        assert act["arguments"]["message"] == {"text": "hi"}


async def test_an_action_does_not_wait_for_threads_that_read(console: Any) -> None:
    """All that everybody shares are taken; it is noted and done all the same."""
    loop, reading = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    reader = loop.run_in_executor(None, reading.wait)
    try:
        assert (await console.act("policy.remove", id="nope")).json()["result"] == {"removed": False}
        assert not reader.done()
    finally:
        reading.set()
        await reader
    assert (await console.get("/api/audit"))["actions"][0]["outcome"] == "ok"


async def test_only_our_own_page_may_act(console: Any) -> None:
    """A cookie is not enough, nor a foreign origin with a token; the page's own token is, and it only acts."""
    session = await console.get("/api/session")
    assert "task.cancel" in session["actions"] and session["capture"] is False
    wish: Any = {"json": {"id": "x"}}
    port = httpx.URL(console.address).port
    async with httpx.AsyncClient(base_url=console.address) as browser:
        await browser.get("/", params={"token": console.http.headers["authorization"].removeprefix("Bearer ")})
        assert (await browser.get("/api/runs")).status_code == 200
        assert (await browser.post("/api/actions/policy.remove", **wish)).status_code == 401
        assert (await browser.post("/api/sql", json={"query": "SELECT 1"})).status_code == 401
        browser.headers["x-antiphon-action"] = session["action_token"]
        for origin in (
            "http://evil.example",
            "null",
            f"https://127.0.0.1:{port}",
            f"http://127.0.0.1:{port}.evil.example",
        ):
            refused = await browser.post("/api/actions/policy.remove", **wish, headers={"origin": origin})
            assert refused.status_code == 403
        ours = {"origin": f"http://127.0.0.1:{port}"}
        assert (await browser.post("/api/actions/policy.remove", **wish, headers=ours)).status_code == 200
        browser.cookies.clear()
        assert (await browser.get("/api/runs")).status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"id": "' + b"x" * 1_000_001 + b'"}']
)
async def test_a_body_that_is_none_is_the_callers_error(console: Any, body: bytes) -> None:
    """A 4xx with a message, and nothing is done."""
    answer = await console.http.post("/api/actions/policy.remove", content=body)
    assert answer.status_code in (413, 422) and answer.json()["error"]["message"]
    assert (await console.get("/api/audit"))["actions"] == []

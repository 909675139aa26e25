"""Counterfactual replay: as it was up to an operation, and from there on with something changed."""

import asyncio
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import Diverged, InvalidMessage, Unanswerable
from antiphon.runtime.replay.counterfactual import Change, Counterfactual, is_from, models_of, replay_with
from antiphon.runtime.replay.live import Rules
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.record import RecordedRun
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import ScriptedModel
from antiphon.runtime.tool import tool
from antiphon.schemas.inference import GenerateRequest
from antiphon.schemas.policy import Cache, Level, Policy, Proposal


class Question(Message):
    text: str = "tea"


class Answer(Message):
    text: str


done: list[str] = []


@tool(effect="read", ttl="1h")
async def search(words: str) -> str:
    """Look it up."""
    done.append(f"search {words}")
    await asyncio.sleep(0.1)
    return f"about {words}"


@tool(effect="write")
async def post(text: str, idempotency_key: str = "") -> str:
    """Publish it."""
    done.append(f"post {text}")
    return f"posted {text}"


def desk(twice: bool = False) -> tuple[System, Any]:
    writer = Agent("writer", model="big")
    editor = Agent("editor", tools=[search, post], model="big")

    @writer.handles
    async def write(message: Question, ctx: Context) -> Answer:
        if "style" in ctx.labels:
            return Answer(text=f"in {ctx.labels['style']}: {message.text}")
        return Answer(text=await ctx.model.generate(str, f"write {message.text}"))

    @editor.handles
    async def edit(message: Question, ctx: Context) -> Answer:
        found = await ctx.tool(search, words=message.text)
        if twice:
            await ctx.tool(search, words=message.text)
        draft = await ctx.call(write, Question(text=found))
        await ctx.sleep("10s")
        title = await ctx.model.generate(str, f"title {draft.text}")
        return Answer(text=f"{title}: {await ctx.tool(post, text=draft.text)}")

    return System("desk", [writer, editor]), edit


def said(name: str) -> ScriptedModel:
    def script(request: GenerateRequest) -> str:
        return f"{name} {request.conversation[-1].text}"

    return ScriptedModel(script, name=name, token_s=0.01)


@pytest.fixture(scope="module")
def run(record: Any) -> RecordedRun:
    """Of the desk as it is."""
    system, edit = desk()
    found: RecordedRun = record(system, edit, Question(), models={"big": said("big")})
    return found


def replayed(run: RecordedRun, settings: Settings, change: Change, system: System | None = None) -> Counterfactual:
    done.clear()
    with Outside(settings, {"big": said("big"), "small": said("small")}) as outside:
        return replay_with(system or desk()[0], settings, run, change, outside)


def test_nothing_changed_is_answered_by_the_same_requests(run: RecordedRun, settings: Settings) -> None:
    """From the first operation on: the same result, time and tokens, and no effect, even without models."""
    found = replayed(run, settings, Change(rules=Rules(models={}, offline=True)))
    assert found.replayed.value == found.recorded.value
    assert found.replayed.used == found.recorded.used and found.recorded.used.calls == 2
    assert found.replayed.took_s == pytest.approx(found.recorded.took_s, abs=0.1)
    assert {each.source for each in found.did if each.operation == "model"} == {"same request"}
    assert done == []


def test_a_changed_message_reads_live_and_stops_at_the_write(run: RecordedRun, settings: Settings) -> None:
    """Reading and asking models is done; posting something else is not."""
    message = b'{"text":"cake"}'
    with pytest.raises(Unanswerable, match="operation 5 of editor: tool 'post' writes"):
        replayed(run, settings, Change(message=message))
    assert done == ["search cake"]
    found = replayed(run, settings, Change(message=message, rules=Rules(models={}, allow_writes=True)))
    draft = "big write about cake"
    assert found.replayed.value == f'{{"text":"big title {draft}: posted {draft}"}}'.encode()
    assert done == ["search cake", f"post {draft}"]
    assert [each.source for each in found.did if each.operation == "model"] == ["live", "live"]


def test_from_an_operation_on_another_model_answers(run: RecordedRun, settings: Settings) -> None:
    """What was before it is as it was: the child is not asked again, and what it used is counted."""
    change = Change(start="4", rules=Rules(models={"big": "small"}))
    found = replayed(run, settings, change)
    draft = "big write about tea"
    assert found.replayed.value == f'{{"text":"small title {draft}: posted {draft}"}}'.encode()
    assert [(each.path, each.source) for each in found.did] == [("4", "live"), ("5", "same request")]
    assert found.replayed.used.calls == 2
    assert done == []


def test_a_child_that_is_done_again_has_the_labels_of_its_run(record: Any, settings: Settings) -> None:
    """As the record has them."""
    system, edit = desk()
    run = record(system, edit, Question(), models={"big": said("big")}, labels={"style": "verse"})
    found = replayed(run, settings, Change(rules=Rules(models={}, offline=True)))
    assert found.replayed.value == found.recorded.value and b"in verse: about tea" in found.recorded.value


def test_an_answer_that_is_not_on_record_is_unknown_offline(run: RecordedRun, settings: Settings) -> None:
    """It stops there and says so."""
    rules = Rules(models={"big": "small"}, offline=True)
    with pytest.raises(Unanswerable, match="model 'big' is not on record, and --offline"):
        replayed(run, settings, Change(start="4", rules=rules))


def test_a_policy_is_applied(run: RecordedRun, settings: Settings) -> None:
    """With a cache the second search of the same words costs no time."""
    system, _ = desk(twice=True)
    policy = Policy(
        id="c", proposal=Proposal(action=Cache(ttl_s=60.0), target="tool search", agent=None), level=Level.SUGGEST
    )
    message = b'{"text":"cake"}'
    change = Change(message=message, rules=Rules(models={}, allow_writes=True))
    plain = replayed(run, settings, change, system)
    assert sum(each.target == "search" for each in plain.did) == 2
    cached = replayed(run, settings, Change(message=message, policies=[policy], rules=change.rules), system)
    assert sum(each.target == "search" for each in cached.did) == 1
    assert cached.replayed.value == plain.replayed.value


def test_code_that_differs_before_the_change_diverges(run: RecordedRun, settings: Settings) -> None:
    """The record before ``start`` must fit."""
    with pytest.raises(Diverged, match="operation 2"):
        replayed(run, settings, Change(start="4"), desk(twice=True)[0])


def test_bad_questions_are_refused(run: RecordedRun, settings: Settings) -> None:
    """An operation that is not there or cannot be, a message that does not fit, and half a swap."""
    for start in ("9", "x", "0", "1.2"):
        with pytest.raises(Unanswerable, match=r"no operation 9|expected the path"):
            replayed(run, settings, Change(start=start))
    with pytest.raises(InvalidMessage, match="Question"):
        replayed(run, settings, Change(message=b'{"words":1}'))
    with pytest.raises(Unanswerable, match="OLD=NEW"):
        models_of(["big"])
    assert models_of(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}


@pytest.mark.parametrize(
    ("path", "start", "expected"),
    [
        ("3", "3", True),
        ("2", "3", False),
        ("4", "3", True),
        ("3.b.1", "3", True),
        ("3.b.1", "3.b.1", True),
        ("3.a.2", "3.b.1", False),  # beside it
        ("3.b.2", "3.b.1", True),
        ("4", "3.b.1", True),
        ("3~", "3", True),
    ],
)
def test_what_comes_from_an_operation_on(path: str, start: str, expected: bool) -> None:
    """It, what is inside it, and what is only reached after it."""
    assert is_from(path, start) is expected

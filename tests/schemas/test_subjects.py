"""Every subject is built and parsed in one place: parse(build(x)) is x, and nothing else parses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.schemas import subjects
from antiphon.schemas.identity import NAME, Address, InvalidName
from antiphon.schemas.subjects import Kind, SubjectError

NAMES = st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True)
TASKS = st.from_regex(r"[A-Za-z0-9_:-]{1,128}", fullmatch=True)
TOPICS = st.lists(NAMES, min_size=1, max_size=8).map(".".join)
BAD_NAMES = st.text().filter(lambda text: NAME.fullmatch(text) is None)


@given(tenant=NAMES, agent=NAMES, handler=NAMES)
def test_addresses_round_trip(tenant: str, agent: str, handler: str) -> None:
    """ask and task name an agent's handler, and the tenant is the second token."""
    to = Address(agent, handler)
    assert subjects.parse_ask(subjects.ask(tenant, to)) == to
    assert subjects.parse_task(subjects.task(tenant, to)) == to
    assert subjects.parse(subjects.ask(tenant, to)) == subjects.Parsed(tenant, Kind.ASK, (agent, handler))
    assert Address.parse(str(to)) == to


@given(tenant=NAMES, name=NAMES, task=TASKS, topic=TOPICS)
def test_all_other_kinds_round_trip(tenant: str, name: str, task: str, topic: str) -> None:
    """Builder and parser of each kind agree."""
    assert subjects.parse_journal(subjects.journal(tenant, task)) == task
    assert subjects.parse_result(subjects.result(tenant, task)) == task
    assert subjects.parse_stream(subjects.stream(tenant, task)) == task
    assert subjects.parse_event(subjects.event(tenant, topic)) == topic
    assert subjects.parse_model(subjects.model(tenant, name)) == name
    assert subjects.parse_replica(subjects.replica(tenant, name, name)) == (name, name)
    assert subjects.parse_control(subjects.control(tenant, name, task)) == (name, task)
    assert subjects.parse_telemetry(subjects.telemetry(tenant, name)) == name
    assert subjects.parse_finding(subjects.finding(tenant, name)) == name
    assert subjects.parse_dead(subjects.dead(tenant, name)) == name
    assert subjects.parse_session(subjects.session_head(tenant, task)) == ("head", task)
    assert subjects.parse_session(subjects.session_node(tenant, task)) == ("node", task)


@given(bad=BAD_NAMES)
def test_a_name_that_is_no_token_builds_nothing(bad: str) -> None:
    """Dots, wildcards, spaces and capitals would change what a subject means."""
    for build in (subjects.model, subjects.telemetry, subjects.finding, subjects.dead, subjects.tasks_of):
        with pytest.raises(InvalidName):
            build("default", bad)
        with pytest.raises(InvalidName):
            build(bad, "name")
    with pytest.raises(InvalidName):
        Address(bad, "handler")
    with pytest.raises(InvalidName):
        Address("agent", bad)


@given(text=st.text())
def test_foreign_subjects_are_refused_not_crashed_on(text: str) -> None:
    """Anything at all either parses or raises SubjectError."""
    for parse in (subjects.parse, subjects.parse_model):
        try:
            parse(text)
        except SubjectError as error:
            assert "expected" in str(error) or "is none of" in str(error)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "antiphon",
        "antiphon.default.ask",
        "other.default.ask.a.b",
        "antiphon.default.nothing.a",
        "antiphon..ask.a.b",
    ],
)
def test_what_is_not_ours_says_so(subject: str) -> None:
    """The message carries the subject."""
    with pytest.raises(SubjectError, match=repr(subject)):
        subjects.parse(subject)


def test_a_parser_takes_its_own_kind_only() -> None:
    """A task's subject is no ask, and the number of tokens counts."""
    with pytest.raises(SubjectError, match="expected kind 'ask' with 2 more tokens"):
        subjects.parse_ask("antiphon.default.task.a.b")
    with pytest.raises(SubjectError):
        subjects.parse_ask("antiphon.default.ask.a.b.c")


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_wildcard_and_a_template(kind: Kind) -> None:
    """Streams and span names need them; templates have no values in them."""
    assert subjects.every(kind) == f"antiphon.*.{kind.value}.>"
    assert subjects.every(kind, "acme") == f"antiphon.acme.{kind.value}.>"
    assert subjects.template(kind).startswith(f"antiphon.{{tenant}}.{kind.value}.{{")


def test_a_filter_for_one_agent_s_work() -> None:
    """All handlers, no other agent."""
    assert subjects.tasks_of("default", "writer") == "antiphon.default.task.writer.*"


@given(version=st.lists(st.text("aZ09_-", min_size=1, max_size=6), min_size=1, max_size=4).map(".".join))
def test_a_version_s_lane_names_it(version: str) -> None:
    """And may be a subject's token; no two versions share one."""
    lane = subjects.version_lane(version)
    assert subjects.task_lane(subjects.task("default", Address("a", "b"), lane)) == lane
    assert subjects.lane_version(lane) == version


@given(key=st.text())
def test_a_key_has_one_lane(key: str) -> None:
    """Of those there are, and no version's."""
    lane = subjects.key_lane(key)
    assert lane in subjects.KEY_LANES
    assert subjects.lane_version(lane) == subjects.lane_version("") == ""


def test_keys_spread_over_all_lanes() -> None:
    """And stay where they were in earlier releases."""
    assert {subjects.key_lane(f"user-{number}") for number in range(200)} == set(subjects.KEY_LANES)
    assert subjects.key_lane("ada") == "p12"

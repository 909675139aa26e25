"""What each kind of policy can be about, and how far up the ladder it can go."""

from typing import get_args

import pytest
from tests.runtime.policies.desk import policy_of

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.policies.kinds import KINDS, SHADOWS, check_policy, rival
from antiphon.schemas.policy import (
    Action,
    Arms,
    Cache,
    Concurrency,
    Level,
    Policy,
    Quorum,
    Retry,
    Route,
    SingleFlight,
    Timeout,
)


def test_every_kind_has_its_place() -> None:
    """A new one in the schema must be given one."""
    union = get_args(Action)[0]
    assert {each.model_fields["kind"].default for each in get_args(union)} == {*KINDS}


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (policy_of(Route(model="n"), "tool search"), "route is about model NAME, not 'tool search'"),
        (policy_of(Cache(ttl_s=1), "ask critic.review"), "cache is about tool NAME or model NAME"),
        (policy_of(Cache(ttl_s=1), "search"), "cache is about tool NAME or model NAME, not 'search'"),
        (policy_of(Timeout(timeout_s=1), "ask critic"), "'ask critic' names no handler"),
        (policy_of(Concurrency(slots=1), "tool search"), "concurrency is about an agent"),
        (policy_of(Quorum(needed=1), "editor"), "quorum is about a handler, such as editor.review"),
        (policy_of(Concurrency(slots=1), "editor", agent="editor"), "leave out the agent 'editor'"),
        (policy_of(Concurrency(slots=1), "editor", level=Level.SHADOW), "concurrency cannot be at level shadow"),
        (policy_of(Retry(attempts=2), "tool search", level=Level.SHADOW), "cache, single_flight, route can"),
        (policy_of(Concurrency(slots=1), "editor", level=Level.CANARY), "use arms time"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(policy: Policy, says: str) -> None:
    """Before it is stored, by id."""
    with pytest.raises(ConfigurationError, match=says) as refusal:
        check_policy(policy)
    assert "policy 'p'" in refusal.value.message


def test_what_can_be_passes() -> None:
    """Every kind that has results to compare at level shadow, and slots by time."""
    actions: dict[str, Action] = {"cache": Cache(ttl_s=1), "single_flight": SingleFlight(), "route": Route(model="n")}
    for kind in SHADOWS:
        check_policy(policy_of(actions[kind], "model m", level=Level.SHADOW))
    check_policy(policy_of(Concurrency(slots=1), "editor", level=Level.CANARY, arms=Arms.TIME))
    check_policy(policy_of(Timeout(timeout_s=1), "run step one", agent="editor"))


def test_two_that_change_the_same_are_rivals() -> None:
    """Both at work, of one kind, one target and agents that overlap; an id has no rival in itself."""
    one = policy_of(Route(model="n"), "model m", id="one")
    assert rival(one, [policy_of(Route(model="k"), "model m", id="two", level=Level.CANARY)]) is not None
    assert rival(one, [policy_of(Route(model="k"), "model m", id="two", agent="writer")]) is not None
    others = [
        policy_of(Route(model="k"), "model m", id="one"),
        policy_of(Route(model="k"), "model l", id="two"),
        policy_of(Cache(ttl_s=1), "model m", id="two"),
        policy_of(Route(model="k"), "model m", id="two", level=Level.SHADOW),
        policy_of(Route(model="k"), "model m", id="two", level=Level.SUGGEST),
    ]
    assert rival(one, others) is None
    mine = policy_of(Route(model="n"), "model m", id="one", agent="writer")
    assert rival(mine, [policy_of(Route(model="k"), "model m", id="two", agent="critic")]) is None

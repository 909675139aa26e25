"""Whether there is what a policy is about; an error names what there is."""

from typing import Any

import pytest
from tests.runtime.policies.desk import Desk, policy_of

from antiphon import System
from antiphon.runtime.errors import AntiphonError, ConfigurationError, UnknownAgent, UnknownHandler
from antiphon.runtime.policies.targets import check_known
from antiphon.schemas.policy import Cache, Concurrency, Hedge, Policy, Quorum, Retry, Route, SingleFlight, Timeout


@pytest.fixture
def cards() -> Any:
    """Of the desk and the clerk."""
    desk = Desk()
    return [desk.desk.card(), desk.clerk.card()]


@pytest.mark.parametrize(
    ("policy", "error", "says"),
    [
        (
            policy_of(Cache(ttl_s=1), "tool search", agent="nobody"),
            UnknownAgent,
            r"no agent 'nobody' \(known: clerk, d",
        ),
        (policy_of(Concurrency(slots=1), "nobody"), UnknownAgent, "known: clerk, desk"),
        (policy_of(Timeout(timeout_s=1), "ask nobody.do"), UnknownAgent, "known: clerk, desk"),
        (policy_of(Timeout(timeout_s=1), "call desk.dont"), UnknownHandler, r"no handler 'dont' \(it has: do\)"),
        (policy_of(Quorum(needed=1), "desk.dont"), UnknownHandler, "it has: do"),
        (policy_of(Cache(ttl_s=1), "tool serach"), ConfigurationError, "no agent has a tool 'serach'.*count, note, p"),
        (policy_of(Retry(attempts=2), "tool x", agent="desk"), ConfigurationError, "agent 'desk' has no tool 'x'"),
        (policy_of(Cache(ttl_s=1), "tool note"), ConfigurationError, "'note' writes, so cache must not touch it"),
        (policy_of(Hedge(delay_s=1), "tool note"), ConfigurationError, "'note' writes, so hedge must not"),
        (policy_of(Cache(ttl_s=1), "tool peek"), ConfigurationError, "'peek' reads and declares no ttl"),
        (policy_of(SingleFlight(), "tool peek"), ConfigurationError, "'peek' reads and declares no ttl"),
    ],
)
def test_what_there_is_not_is_named(cards: Any, policy: Policy, error: type[AntiphonError], says: str) -> None:
    """With what there is instead."""
    with pytest.raises(error, match=says):
        check_known(policy, cards)


def test_what_there_is_passes(cards: Any) -> None:
    """Models are each node's own, and not looked at."""
    for policy in (
        policy_of(Cache(ttl_s=1), "tool search", agent="clerk"),
        policy_of(Hedge(delay_s=1), "tool peek"),
        policy_of(Route(model="n"), "model whatever"),
        policy_of(Timeout(timeout_s=1), "call desk.do"),
        policy_of(Timeout(timeout_s=1), "run a step"),
        policy_of(Concurrency(slots=2), "desk"),
    ):
        check_known(policy, cards)


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ([policy_of(Cache(ttl_s=1), "tool serach")], "no agent has a tool 'serach'"),
        ([policy_of(Cache(ttl_s=1), "tool search")] * 2, "two policies have the id 'p'"),
        ([policy_of(Cache(ttl_s=i), "tool search", id=f"p{i}") for i in (1, 2)], "'p1' and 'p2' both change cache of"),
        ([policy_of(Route(model="n"), "tool search")], "route is about model NAME"),
    ],
)
def test_policies_by_hand_are_checked_when_the_system_is_made(policies: list[Policy], says: str) -> None:
    """So that no node starts with them."""
    with pytest.raises(ConfigurationError, match=says):
        System("s", agents=[Desk().desk], policies=policies)


def test_peers_of_a_system_may_live_elsewhere() -> None:
    """Their handlers cannot be looked at when the code is loaded; its own agents can."""
    System("s", agents=[Desk().desk], policies=[policy_of(Timeout(timeout_s=1), "ask critic.review")])
    with pytest.raises(UnknownAgent):
        System("s", agents=[Desk().desk], policies=[policy_of(Timeout(timeout_s=1), "ask critic.review", agent="x")])

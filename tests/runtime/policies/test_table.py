"""The policies that apply now, by what they are about."""

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.policies.desk import policy_of

from antiphon.runtime.policies.kinds import ORDER, rival
from antiphon.runtime.policies.table import EMPTY, PolicyTable
from antiphon.schemas.policy import (
    Action,
    Affinity,
    Cache,
    Concurrency,
    Level,
    Policy,
    Quorum,
    Retry,
    SingleFlight,
    Timeout,
)

AGENTS = ["writer", "critic"]
ACTIONS: list[tuple[Action, str]] = [
    (Cache(ttl_s=1), "tool search"),
    (SingleFlight(), "tool search"),
    (Timeout(timeout_s=1), "tool search"),
    (Timeout(timeout_s=1), "ask critic.review"),
    (Retry(attempts=2), "model m"),
    (Affinity(), "model m"),
    (Concurrency(slots=2), "writer"),
    (Quorum(needed=2), "writer.write"),
]


@st.composite
def policies(draw: st.DrawFn) -> list[Policy]:
    """Any, with ids of their own, contradictions among them."""
    chosen = draw(
        st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from([None, *AGENTS]), st.sampled_from(Level)))
    )
    return [
        policy_of(action, target, id=f"p{index}", agent=agent, level=level)
        for index, ((action, target), agent, level) in enumerate(chosen)
    ]


@given(found=policies(), agent=st.sampled_from(AGENTS))
def test_an_operation_gets_what_is_about_it_in_order(found: list[Policy], agent: str) -> None:
    """Of its target and its agent, outermost first, and no suggestion."""
    table = PolicyTable(found)
    for label in ("tool search", "ask critic.review", "model m", "tool other"):
        matching = table.matching(label, agent)
        kinds = [policy.proposal.action.kind for policy in matching]
        assert kinds == sorted(kinds, key=ORDER.index)
        assert all(policy.proposal.target == label for policy in matching)
        assert all(policy.proposal.agent in (None, agent) for policy in matching)
        assert all(policy.level is not Level.SUGGEST for policy in matching)
        about = [
            policy
            for policy in table.policies
            if policy.proposal.target == label and policy.proposal.agent in (None, agent)
        ]
        assert {policy.id for policy in matching} == {
            policy.id for policy in about if policy.proposal.action.kind in ORDER
        }


@given(found=policies(), order=st.randoms(use_true_random=False))
def test_contradictions_are_decided_alike_everywhere(found: list[Policy], order: random.Random) -> None:
    """By level, then by id, whatever the order in which a node heard of them; nobody else is left out."""
    table = PolicyTable(found)
    shuffled = list(found)
    order.shuffle(shuffled)
    assert PolicyTable(shuffled).policies == table.policies
    assert all(rival(policy, table.policies) is None for policy in table.policies)
    lost = {policy.id: winner for policy, winner in table.refused}
    assert {policy.id for policy in table.policies} | {*lost} == {
        policy.id for policy in found if policy.level is not Level.SUGGEST
    }
    for loser, winner in table.refused:
        assert rival(loser, [winner]) is winner
        assert winner in table.policies
        assert (winner.level is Level.ON, loser.id) >= (loser.level is Level.ON, winner.id) or loser.id > winner.id


@given(found=policies(), agent=st.sampled_from(["", *AGENTS]))
def test_find_gives_the_furthest_up_the_ladder(found: list[Policy], agent: str) -> None:
    """Of a kind about a target, also of kinds that are about no operation."""
    table = PolicyTable(found)
    for action, target in ACTIONS:
        best = table.find(action.kind, target, agent)
        fitting = [
            policy
            for policy in table.policies
            if (policy.proposal.action.kind, policy.proposal.target) == (action.kind, target)
            and policy.proposal.agent in (None, agent)
        ]
        assert (best is None) == (not fitting)
        if best is not None:
            assert best in fitting
            assert best.level is Level.ON or all(policy.level is not Level.ON for policy in fitting)


def test_an_empty_table_says_so_in_one_attribute() -> None:
    """So does one whose policies are about no operation: operations pay nothing for them."""
    assert not EMPTY.operations
    assert not PolicyTable([policy_of(Concurrency(slots=2), "writer")]).operations
    assert not PolicyTable([policy_of(Cache(ttl_s=1), "tool search", level=Level.SUGGEST)]).operations
    assert PolicyTable([policy_of(Cache(ttl_s=1), "tool search")]).operations

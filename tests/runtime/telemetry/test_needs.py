"""What detectors need is known for each of them, and silence for want of it is told from quiet."""

from antiphon.agents.logging_agent.detectors.catalogue import catalogue
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.needs import NEEDS, missing


def test_every_detector_has_its_needs() -> None:
    """Each pattern of the catalogue, and no other."""
    assert set(NEEDS) == set(catalogue())


def test_nothing_is_missing_where_every_fact_is_there() -> None:
    """One of each alternative is enough."""
    assert missing({either[0] for needs in NEEDS.values() for either in needs}) == {}
    assert missing({either[-1] for needs in NEEDS.values() for either in needs}) == {}


def test_what_is_missing_is_named() -> None:
    """A program that records tools with hashes and nothing else lacks tokens, queues and groups, not P2."""
    lacks = missing({attr.OPERATION, attr.INPUT_HASH, attr.RESULT_HASH, attr.EFFECT})
    assert {"p2", "p3", "p4", "p6"}.isdisjoint(lacks)
    assert lacks["p19"] == ((attr.MODEL_QUEUE_S,), (attr.POOL_CAPACITY,))
    assert lacks["p25"] == ((attr.GROUP,), (attr.GROUP_NEEDED,))

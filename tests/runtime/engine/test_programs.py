"""Programs: their order and how long their pages are kept."""

import pytest

from antiphon.runtime.engine.programs import AGING, FORGET_S, Programs


def test_service_is_summed_over_the_calls_of_a_run() -> None:
    """Calls of one run share an account; a call without a run has its own."""
    programs = Programs()
    first = programs.begin("run", "agent", 0.0)
    first.attained_s += 3.0
    programs.end("run", 1.0)
    assert programs.begin("run", "agent", 2.0) is first
    assert programs.begin(None, "agent", 2.0) is not programs.begin(None, "agent", 2.0)
    assert len(programs) == 1


def test_the_least_served_goes_first_but_not_before_those_that_came_long_before_it() -> None:
    """A program with S seconds of service is overtaken by those that come up to S / AGING later, by no later ones."""
    programs = Programs()
    old = programs.begin("old", None, 0.0)
    old.attained_s = 2.0
    assert programs.begin("new", None, 2.0 / AGING - 1).key < old.key
    assert programs.begin("later", None, 2.0 / AGING + 1).key > old.key


def test_idle_runs_are_forgotten_and_memory_is_bounded() -> None:
    """A run that was idle for ten minutes starts anew; those under way stay, and there are never many."""
    programs = Programs()
    busy = programs.begin("busy", None, 0.0)
    idle = programs.begin("idle", None, 0.0)
    programs.end("idle", 1.0)
    for at in range(5):
        programs.begin(f"run{at}", None, 2.0 + FORGET_S)
    assert programs.begin("busy", None, 3.0 + FORGET_S) is busy
    assert programs.begin("idle", None, 3.0 + FORGET_S) is not idle
    for at in range(20_000):
        programs.begin(f"many{at}", None, 700.0)
        if at % 2:
            programs.end(f"many{at}", 700.0)
    assert len(programs) <= 8193


def test_pages_are_kept_as_long_as_computing_them_again_costs_more() -> None:
    """Unknown: to the break-even; usually back sooner: twice the usual gap; usually away for longer: not at all."""
    programs = Programs()
    program = programs.begin("run", "agent", 0.0)
    even_s = 0.5 * 100 / 10
    assert programs.hold_s(program, recompute_s=0.5, pages=10, pool=100) == even_s
    programs.end("run", 1.0)
    programs.begin("run", "agent", 2.0)
    assert programs.hold_s(program, recompute_s=0.5, pages=10, pool=100) == pytest.approx(2.0)
    assert programs.hold_s(program, recompute_s=0.05, pages=10, pool=100) == 0.0
    stranger = programs.begin("other", "agent", 3.0)
    assert programs.hold_s(stranger, recompute_s=0.5, pages=10, pool=100) == pytest.approx(2.0)


def test_a_gap_is_from_the_last_call_to_the_next() -> None:
    """While any call of the run is under way there is no gap."""
    programs = Programs()
    program = programs.begin("run", None, 0.0)
    programs.begin("run", None, 0.0)
    programs.end("run", 5.0)
    programs.begin("run", None, 6.0)
    assert program.gap_s is None
    programs.end("run", 7.0)
    programs.end("run", 8.0)
    programs.begin("run", None, 12.0)
    assert program.gap_s == 4.0

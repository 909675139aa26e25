"""Numbers fall with service and rise with age."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.programs import AGING
from antiphon.runtime.policies.levels import FIRST_S, LEVELS, level


@given(one=st.floats(0, 1e6), other=st.floats(0, 1e6), age_s=st.floats(0, 1e6))
def test_more_service_never_means_a_higher_number(one: float, other: float, age_s: float) -> None:
    """At equal age; and numbers stay in their range."""
    less, more = sorted((one, other))
    assert LEVELS - 1 >= level(less, age_s) >= level(more, age_s) >= 0


def test_age_makes_up_for_service() -> None:
    """So that a long run does not wait for ever behind ever new ones."""
    assert level(40.0, 0.0) == 0
    assert level(40.0, (40.0 - FIRST_S) / AGING + 1) == LEVELS - 1

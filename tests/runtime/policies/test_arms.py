"""Which operations a policy treats: the same everywhere, and in the share that was asked for."""

from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.policies.desk import policy_of

from antiphon.runtime.policies.arms import Arm, arm_of, slice_of
from antiphon.schemas.policy import Arms, Cache, Level, Policy

IDS = st.from_regex(r"[a-z0-9_-]{1,16}", fullmatch=True)
TIMES = st.integers(0, 2**45)
MANY = 2_000


def canary(id: str, share: float, arms: Arms = Arms.RUN, slice_s: float = 10.0) -> Policy:
    """A policy at level canary."""
    return policy_of(Cache(ttl_s=1), "tool search", id=id, level=Level.CANARY, share=share, arms=arms, slice_s=slice_s)


@given(id=IDS, run=st.text(), unix_ms=TIMES, share=st.floats(0, 1), arms=st.sampled_from(Arms))
def test_other_levels_have_one_arm(id: str, run: str, unix_ms: int, share: float, arms: Arms) -> None:
    """Whatever run and time."""
    policy = canary(id, share, arms)
    for level, arm in ((Level.SUGGEST, Arm.OFF), (Level.SHADOW, Arm.SHADOW), (Level.ON, Arm.TREATED)):
        assert arm_of(policy.model_copy(update={"level": level}), run, unix_ms) is arm


@given(id=IDS, share=st.floats(0, 1), arms=st.sampled_from(Arms), seed=st.integers(0, 2**32))
def test_the_share_is_met(id: str, share: float, arms: Arms, seed: int) -> None:
    """Of runs or of slices, within five standard deviations of a binomial share, and a few for shares near none."""
    policy = canary(id, share, arms)
    treated = sum(
        arm_of(policy, f"run-{seed + index}", (seed + index) * 10_000) is Arm.TREATED for index in range(MANY)
    )
    assert abs(treated - share * MANY) <= 5 * (share * (1 - share) * MANY) ** 0.5 + 5


@given(id=IDS, run=st.text(), times=st.lists(TIMES, min_size=2, max_size=5), share=st.floats(0, 1))
def test_a_run_has_one_arm_by_run(id: str, run: str, times: list[int], share: float) -> None:
    """Whenever its operations begin."""
    assert len({arm_of(canary(id, share), run, unix_ms) for unix_ms in times}) == 1


@given(id=IDS, runs=st.lists(st.text(), min_size=2, max_size=5), unix_ms=TIMES, slice_s=st.floats(1, 3_600))
def test_a_slice_has_one_arm_by_time(id: str, runs: list[str], unix_ms: int, slice_s: float) -> None:
    """Whoever's operations begin in it."""
    policy = canary(id, 0.5, Arms.TIME, slice_s)
    assert len({arm_of(policy, run, unix_ms) for run in runs}) == 1
    begin_ms = slice_of(policy, unix_ms) * slice_s * 1000
    assert begin_ms <= unix_ms + 1 and unix_ms < begin_ms + slice_s * 1000 + 1


@given(share=st.floats(0, 1), more=st.floats(0, 1), run=st.text())
def test_a_larger_share_keeps_who_was_treated(share: float, more: float, run: str) -> None:
    """So that climbing from 5 to 50 % moves nobody back and forth."""
    small, large = sorted((share, more))
    if arm_of(canary("p", small), run, 0) is Arm.TREATED:
        assert arm_of(canary("p", large), run, 0) is Arm.TREATED


def test_two_policies_draw_apart() -> None:
    """Else the same runs would get all that is tried."""
    both = sum(
        all(arm_of(canary(id, 0.5), f"run-{index}", 0) is Arm.TREATED for id in ("a", "b")) for index in range(MANY)
    )
    assert abs(both - MANY / 4) < 5 * (MANY * 3 / 16) ** 0.5


def test_arms_stay_what_they_were() -> None:
    """Traces that are stored are read by later versions: the hash may not change."""
    arms = [arm_of(canary("finding-7", 0.5), f"run-{index}", 0) is Arm.TREATED for index in range(16)]
    assert "".join("01"[arm] for arm in arms) == "1111001110000101"

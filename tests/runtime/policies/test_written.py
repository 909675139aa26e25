"""What runs have written: forgetting may only make a run look as if it had written."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.policies.written import Written


@given(keep=st.integers(1, 4), writes=st.lists(st.integers(0, 7)))
def test_a_write_is_never_missed(keep: int, writes: list[int]) -> None:
    """However many runs write: what is said of each is its last write, or a later one."""
    written = Written(keep)
    last: dict[str, int] = {}
    for number, run in enumerate(writes, start=1):
        written.note(f"run-{run}")
        last[f"run-{run}"] = number
        assert written.count == number
        assert all(written.last(each) >= at for each, at in last.items())
        recent = sorted(last, key=lambda each: last[each])[-keep:]
        assert all(written.last(each) == last[each] for each in recent)


def test_who_never_wrote_is_given_everything() -> None:
    """As long as nobody was forgotten."""
    written = Written()
    written.note("other")
    assert written.last("r") == 0

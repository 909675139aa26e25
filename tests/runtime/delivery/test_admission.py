"""Which of several messages of one task may go on with it: one, whatever the journal says."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.delivery.admission import Admission, admit
from antiphon.runtime.delivery.history import History

sequences = st.integers(1, 4)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A journal in any state: running, parked, redriven, closed; of this version or another."""
    history = History()
    history.version = draw(st.sampled_from(["1", "2"]))
    history.origin = draw(st.integers(0, 4))
    history.number = draw(st.integers(0, 3))
    history.is_parked = history.number > 0 and draw(st.booleans())
    history.state = draw(st.sampled_from(["", "", "", "succeeded", "cancelled"]))
    return history


@given(histories(), sequences, st.integers(0, 3))
def test_a_finished_task_is_nobody_s_any_more(history: History, origin: int, wake: int) -> None:
    """Neither its own message nor a wake-up begins it again."""
    if history.state:
        assert admit(history, origin=origin, wake=wake, version="1") is Admission.DUPLICATE


@given(histories(), sequences, st.integers(0, 3))
def test_a_parked_task_goes_on_with_the_wake_up_of_that_parking_only(history: History, origin: int, wake: int) -> None:
    """An older wake-up is a duplicate; the message that parked it, whose ack was lost, learns that it is parked."""
    if history.state or not history.is_parked:
        return
    found = admit(history, origin=origin, wake=wake, version=history.version)
    if wake == history.number:
        assert found is Admission.RUN
    elif origin == history.origin:
        assert found is Admission.PARKED
    else:
        assert found is Admission.DUPLICATE


@given(histories(), st.integers(0, 3))
def test_a_task_that_runs_belongs_to_one_message(history: History, wake: int) -> None:
    """Of all messages in the stream exactly the owner may go on with it; after a redrive whoever comes first."""
    if history.state or history.is_parked:
        return
    found = [admit(history, origin=origin, wake=wake, version=history.version) for origin in range(1, 5)]
    if history.origin == 0:
        assert found == [Admission.RUN] * 4
    else:
        expected = [Admission.DUPLICATE] * 4
        expected[history.origin - 1] = Admission.RUN
        assert found == expected


@given(histories(), sequences, st.integers(0, 3))
def test_other_code_changes_run_to_foreign_and_nothing_else(history: History, origin: int, wake: int) -> None:
    """A duplicate is settled by any version."""
    own = admit(history, origin=origin, wake=wake, version=history.version)
    other = admit(history, origin=origin, wake=wake, version="another")
    assert other is (Admission.FOREIGN if own is Admission.RUN else own)


@given(sequences, st.integers(0, 3))
def test_a_task_without_journal_is_free(origin: int, wake: int) -> None:
    """Nobody has begun it, in any version."""
    assert admit(History(), origin=origin, wake=wake, version="1") is Admission.RUN

"""A model's process as its parent sees it; its life and death are tested with ``test_process``."""

from antiphon.runtime.models.child import ended_how


def test_how_a_process_ended_is_said_in_words() -> None:
    """With the signal's name, and what it mostly means."""
    assert ended_how(3) == "ended with status 3"
    assert ended_how(-9) == "was killed by signal 9 (SIGKILL: out of memory?)"
    assert ended_how(-11).startswith("was killed by signal 11 (SIGSEGV: a fault in native code")

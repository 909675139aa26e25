from antiphon.runtime.console.sessions import LASTS_S, MOST, Sessions


def test_a_session_has_a_name_until_it_ends() -> None:
    """By its time or by hand; an id that nobody was given is nobody's."""
    sessions = Sessions()
    ada, bob = sessions.begin("ada", 0.0), sessions.begin("bob", 0.0)
    assert ada != bob
    assert (sessions.name(ada, 1.0), sessions.name(bob, 1.0)) == ("ada", "bob")
    assert sessions.name("", 1.0) is sessions.name("x" * 43, 1.0) is sessions.name("\udcff", 1.0) is None
    sessions.end(bob)
    sessions.end(bob)
    assert sessions.name(bob, 1.0) is None
    assert sessions.name(ada, LASTS_S - 1) == "ada"
    assert sessions.name(ada, LASTS_S) is None
    assert sessions.name(ada, 1.0) is None  # forgotten, not hidden


def test_there_are_so_many_at_once() -> None:
    """One more ends the oldest."""
    sessions = Sessions()
    ids = [sessions.begin("ada", float(n)) for n in range(MOST + 1)]
    assert sessions.name(ids[0], 10.0) is None
    assert sessions.name(ids[1], 10.0) == sessions.name(ids[-1], 10.0) == "ada"


def test_ids_are_not_kept() -> None:
    """What is in memory opens nothing."""
    sessions = Sessions()
    id = sessions.begin("ada", 0.0)
    assert id.encode() not in sessions._found and len(id) == 43

"""Damaged stores are kept, and can be found."""

from pathlib import Path

from antiphon.runtime.store.damaged import kept, set_aside


def test_a_file_is_kept_with_what_is_beside_it(path: Path) -> None:
    """Under a name that says when; the old names are free."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_text(f"content{suffix}")
    found = set_aside(path, 17)
    assert found == path.with_name("store.db.corrupt-17") and found.read_text() == "content"
    assert found.with_name(f"{found.name}-wal").read_text() == "content-wal"
    assert not list(path.parent.glob("store.db")) + list(path.parent.glob("store.db-*"))


def test_those_that_are_there_are_listed(path: Path) -> None:
    """The newest first, by time and not by name; nothing else, and not one that somebody deleted."""
    for unix_ms in (9, 100, 20):
        path.write_text("x")
        set_aside(path, unix_ms)
    for other in ("store.db.corrupt-", "store.db.corrupt-1x", "other.db.corrupt-5", "store.db.corrupt-9-wal"):
        path.with_name(other).write_text("x")
    path.with_name("store.db.corrupt-20").unlink()
    assert kept(path) == ("store.db.corrupt-100", "store.db.corrupt-9")

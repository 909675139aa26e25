"""The audit log: what was begun is there before it is done, and is paged, the newest first."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.store import audit
from antiphon.runtime.store.audit import Outcome, acts
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store


def test_an_action_is_noted_before_and_after(store: Store, path: Path) -> None:
    """Begun, then how it ended; pages go back in time."""
    reader = Reader.open(path)
    first = store.begin_act(action="task.cancel", by="ada", arguments={"task": "t1"})
    assert [act.outcome for act in reader.ask(partial(acts, before=None, limit=5))[0]] == [Outcome.BEGUN]
    store.end_act(first, Outcome.FAILED, "it had ended")
    second = store.begin_act(action="letter.drop", by="ada", arguments={"text": "x" * 9_000})
    newest, more = reader.ask(partial(acts, before=None, limit=1))
    assert (newest[0].id, more) == (second, True) and len(newest[0].arguments["cut"]) == 4_000
    older, more = reader.ask(partial(acts, before=second, limit=1))
    assert (older[0].message, older[0].arguments, more) == ("it had ended", {"task": "t1"}, False)
    reader.close()


def test_only_the_newest_are_kept(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it cannot fill the disk."""
    monkeypatch.setattr(audit, "KEPT", 3)
    kept: list[Any] = [store.begin_act(action="a", by="b", arguments={}) for _ in range(5)]
    reader = Reader.open(path)
    assert [act.id for act in reader.ask(partial(acts, before=None, limit=9))[0]] == kept[:1:-1]
    reader.close()

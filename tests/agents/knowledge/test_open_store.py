"""Which store the settings mean."""

import sys
from pathlib import Path

import pytest

from antiphon.agents.knowledge.open_store import open_store
from antiphon.agents.knowledge.sqlite_store import SqliteStore
from antiphon.runtime.errors import ConfigurationError, LibraryUnavailable, MissingExtra
from antiphon.runtime.settings import Settings, load_settings


def settings(home: Path, **variables: str) -> Settings:
    """Settings from these variables."""
    return load_settings({"ANTIPHON_HOME": str(home), **variables}, home)


async def test_a_file_in_the_home_folder_is_the_default(tmp_path: Path) -> None:
    """One for each tenant, agent and model; it is made when it is used."""
    store = open_store(settings(tmp_path), tenant="default", agent="handbook", model="mini")
    assert isinstance(store, SqliteStore)
    assert not (tmp_path / "knowledge").exists()
    await store.sources()
    assert (tmp_path / "knowledge" / "default.handbook.mini.db").is_file()


async def test_no_two_tenants_share_a_library(tmp_path: Path) -> None:
    """Whatever dashes their names and those of their agents have."""
    mine = open_store(settings(tmp_path), tenant="acme", agent="north-docs", model="mini")
    theirs = open_store(settings(tmp_path), tenant="acme-north", agent="docs", model="mini")
    await mine.sources()
    await theirs.sources()
    assert len(list((tmp_path / "knowledge").glob("*.db"))) == 2


async def test_a_url_is_a_qdrant_server(tmp_path: Path) -> None:
    """One that is not there is unavailable, for now."""
    from antiphon.agents.knowledge.qdrant_store import QdrantStore

    found = settings(tmp_path, ANTIPHON_KNOWLEDGE_URL="http://127.0.0.1:1")
    store = open_store(found, tenant="default", agent="handbook", model="mini")
    assert isinstance(store, QdrantStore)
    with pytest.raises(LibraryUnavailable, match=r"antiphon-default\.handbook\.mini") as caught:
        await store.sources()
    assert caught.value.retryable


def test_another_url_is_refused(tmp_path: Path) -> None:
    """When settings are read, with the form that is accepted."""
    with pytest.raises(ConfigurationError, match="ANTIPHON_KNOWLEDGE_URL is 'qdrant:6333', expected http"):
        settings(tmp_path, ANTIPHON_KNOWLEDGE_URL="qdrant:6333")


def test_a_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    found = settings(tmp_path, ANTIPHON_KNOWLEDGE_URL="http://127.0.0.1:1")
    with pytest.raises(MissingExtra, match=r"antiphon\[qdrant\]"):
        open_store(found, tenant="default", agent="handbook", model="mini")

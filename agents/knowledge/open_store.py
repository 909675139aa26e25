"""Which store the settings mean."""

from antiphon.agents.knowledge.sqlite_store import SqliteStore
from antiphon.agents.knowledge.store import Store
from antiphon.runtime.errors import MissingExtra
from antiphon.runtime.settings import Settings

TIMEOUT_S = 30


def open_store(settings: Settings, *, tenant: str, agent: str, model: str) -> Store:
    """The library of an agent of a tenant, apart from all others.

    The model's name is part of the library's: vectors of two models do not compare. With a ``knowledge_url`` it is a
    collection of that Qdrant server, else a file in the home folder. Nothing is opened or made before it is used.

    Raises:
        MissingExtra: a server is set, and the packages to reach it are not installed.
    """
    name = f"{tenant}.{agent}.{model}"  # no tenant and no agent has a dot: two of them never make the same name
    if settings.knowledge_url is None:
        return SqliteStore(settings.home / "knowledge" / f"{name}.db")
    try:
        from qdrant_client import AsyncQdrantClient

        from antiphon.agents.knowledge.qdrant_store import QdrantStore
    except ImportError as error:
        raise MissingExtra(
            f"knowledge_url needs {error.name}, which is not installed; pip install 'antiphon[qdrant]'"
        ) from error
    token = settings.knowledge_token.get_secret_value() if settings.knowledge_token is not None else None
    client = AsyncQdrantClient(settings.knowledge_url, api_key=token, timeout=TIMEOUT_S, check_compatibility=False)
    return QdrantStore(client, f"antiphon-{name}")

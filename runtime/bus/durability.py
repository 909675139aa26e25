"""How much a confirmed append survives: copies on other servers, flushes to the disk. See ``docs/durability.md``."""

from typing import TYPE_CHECKING, Literal

from antiphon.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from antiphon.runtime.bus.api import ApiError  # settings import this module, and the API stands on nats-py

Durability = Literal["fast", "safe", "strict"]
"""``fast``: one copy. ``safe``: three copies. ``strict``: three, or one on a single embedded server, each flushed."""

COPIES = 3
_TOO_FEW = (10005, 10074)  # no suitable peers for placement; replicas not supported in non-clustered mode


def copies(durability: Durability, servers: int | None) -> int:
    """How many servers keep each message. ``servers``: embedded ones that run; None: an external server or cluster.

    An embedded cluster always keeps three: with one, losing any server would stop some streams. What an external
    server can keep shows when its streams are made.

    Raises:
        ConfigurationError: the profile needs three servers and there is one.
    """
    if servers is None:
        return 1 if durability == "fast" else COPIES
    if servers >= COPIES:
        return COPIES
    if durability == "safe":
        raise ConfigurationError(
            f"durability 'safe' keeps {COPIES} copies and needs as many servers, found {servers}: end the commands "
            "that use this home and start with `antiphon up --servers 3`, or set ANTIPHON_DURABILITY=strict, which "
            "flushes each append to this machine's disk"
        )
    return 1


def too_few_servers(stream: str, replicas: int, error: "ApiError") -> ConfigurationError | None:
    """The server's refusal as an error of configuration, when it has fewer servers than copies were asked for."""
    if error.number not in _TOO_FEW or replicas == 1:
        return None
    return ConfigurationError(
        f"stream {stream} should have {replicas} copies, and the server refuses ({error.description}): durability "
        f"'safe' and 'strict' need a cluster of {replicas} servers that are up; add servers, or set "
        "ANTIPHON_DURABILITY=fast for one copy",
        stream=stream,
    )

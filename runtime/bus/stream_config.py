"""Stream specs as JetStream configurations, what may be changed on a stream that is there, and what an append asks."""

import math
from typing import Any

from antiphon.runtime.bus.base import StreamSpec
from antiphon.runtime.errors import ConfigurationError

_DEDUP_S = 120.0
_NS = 1_000_000_000
_UNLIMITED = (-1, 0)
_TAKEN_OVER = (
    "subjects",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "max_age",
    "duplicate_window",
    "subject_delete_marker_ttl",
)


def wanted(spec: StreamSpec) -> dict[str, Any]:
    """The configuration of a stream. One that owes work refuses when full (``discard=new``) and never forgets."""
    return {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "retention": "limits",
        "storage": "file",
        "discard": "new" if spec.owes_work else "old",
        "max_bytes": spec.max_bytes or -1,
        "max_age": int(spec.max_age_s * _NS),
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "duplicate_window": int(min(_DEDUP_S, spec.max_age_s or _DEDUP_S) * _NS),
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
    }


def merge(found: dict[str, Any], config: dict[str, Any], *, owes_work: bool) -> dict[str, Any] | None:
    """What to update a stream to that exists as ``found``; None: leave it.

    Byte limits that somebody has raised stay.

    Raises:
        ConfigurationError: the stream owes work and could forget messages; changing that is for a person.
    """
    if owes_work:
        forgets = [
            f"{key}={found.get(key)!r}"
            for key, safe in (
                ("retention", ("limits",)),
                ("discard", ("new",)),
                ("max_age", (0, None)),
                ("max_msgs_per_subject", (-1, 0, None)),
            )
            if found.get(key) not in safe
        ]
        if forgets:
            raise ConfigurationError(
                f"stream {config['name']} owes work but could forget messages ({', '.join(forgets)}); expected "
                "limits retention, discard new and no age limit: copy what it holds, delete it and start again",
                stream=config["name"],
            )
    merged = dict(found)
    for key in _TAKEN_OVER:
        if key in config:
            merged[key] = config[key]
    if found.get("max_bytes", -1) not in _UNLIMITED:
        wider = config["max_bytes"] in _UNLIMITED or config["max_bytes"] > found["max_bytes"]
        merged["max_bytes"] = config["max_bytes"] if wider else found["max_bytes"]
    if config.get("num_replicas", 1) > found.get("num_replicas", 1):
        merged["num_replicas"] = config["num_replicas"]
    return merged if merged != found else None


def append_headers(message_id: str | None, expected_last: int | None, *, rollup: bool, ttl_s: float) -> dict[str, str]:
    """What an append asks of the stream (the server's own headers; TTL: ADR-43, in whole seconds, rounded up)."""
    asked: dict[str, str] = {}
    if message_id is not None:
        asked["Nats-Msg-Id"] = message_id
    if expected_last is not None:
        asked["Nats-Expected-Last-Subject-Sequence"] = str(expected_last)
    if rollup:
        asked["Nats-Rollup"] = "sub"
    if ttl_s > 0:
        asked["Nats-TTL"] = f"{math.ceil(ttl_s)}s"
    return asked

"""Messages in the order in which their spans came to the store: what a ticker shows."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.runtime.bus.matching import matches
from antiphon.runtime.store.facts import ERROR, PRODUCER

SCANNED = 5_000  # messages looked at for one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message. ``place`` orders them by arrival; ``size`` is its body's bytes, where recorded."""

    place: int
    trace_id: bytes
    span_id: bytes
    run: str
    unix_ns: int
    operation: str
    subject: str
    sender: str
    size: int | None
    failed: bool


def sent(
    connection: sqlite3.Connection, *, after: int | None, wanted: str, limit: int, obs: bool
) -> tuple[Sequence[Sent], int, bool]:
    """Messages on subjects like ``wanted`` (NATS wildcards) after a place, oldest first, and the place reached.

    The third is whether there may be more after that place already. ``after`` None: the newest.
    """
    order, since = ("DESC", 0) if after is None else ("", after)
    scanned = f"SELECT rowid, * FROM spans WHERE rowid > ? ORDER BY rowid {order} LIMIT ?"
    reached, looked_at = connection.execute(
        f"SELECT max(rowid), count(*) FROM ({scanned})", (since, SCANNED)
    ).fetchone()
    rows = connection.execute(
        f"""SELECT rowid AS place, trace_id, span_id, run, start_ns, operation, agent, status,
            json_extract(attributes, '$."messaging.destination.name"') AS subject,
            json_extract(attributes, '$."messaging.message.body.size"') AS size
            FROM ({scanned})
            WHERE kind = {PRODUCER} AND (? OR json_extract(attributes, '$."antiphon.obs"') IS NOT 1)""",
        (since, SCANNED, obs),
    ).fetchall()
    found = [_sent(row) for row in rows if isinstance(row["subject"], str) and matches(wanted, row["subject"])]
    if after is None:
        return found[:limit][::-1], reached or 0, False
    if len(found) > limit:
        return found[:limit], found[limit - 1].place, True
    return found, reached or since, looked_at == SCANNED


def _sent(row: sqlite3.Row) -> Sent:
    return Sent(
        place=row["place"],
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        run=row["run"] or "",
        unix_ns=row["start_ns"],
        operation=row["operation"],
        subject=row["subject"],
        sender=row["agent"] or "",
        size=row["size"] if isinstance(row["size"], int) else None,
        failed=row["status"] == ERROR,
    )

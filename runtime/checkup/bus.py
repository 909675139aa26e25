"""What the bus is like: its server, its stored messages, and the clocks of those who are on it."""

from collections.abc import Mapping, Sequence
from typing import Final

from antiphon.runtime.bus.about import ServerInfo, server_info
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.checkup.verdict import Status, Verdict
from antiphon.runtime.clock import Clock
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import AntiphonError, BusUnavailable, MessageError
from antiphon.runtime.settings import Settings
from antiphon.runtime.telemetry.codec import decode
from antiphon.runtime.urls import without_secrets
from antiphon.schemas import subjects

NAME: Final = "doctor"
WARN_SKEW_S: Final = 1.0  # deadlines and waits are times of day; a batch of telemetry travels for 0.1 s and more
FAIL_SKEW_S: Final = 10.0  # a lease in the directory


async def bus(settings: Settings, clock: Clock) -> Sequence[Verdict]:
    """Server, JetStream and clocks, over one connection; an embedded server that does not run is started for it."""
    token = settings.nats_token.get_secret_value() if settings.nats_token is not None else None
    where = f"embedded in {settings.home}"
    if settings.nats_url is not None:
        where = ",".join(map(without_secrets, settings.nats_url.split(",")))
    try:
        connection = await open_bus(settings.nats_url, token, settings.home, NAME, settings.durability)
    except AntiphonError as error:
        return [Verdict(name="server", status=Status.FAIL, found=error.message)]
    try:
        asked_ms = clock.unix_ns() // 1_000_000
        try:
            info = await server_info(connection)
        except BusUnavailable as error:
            return [Verdict(name="server", status=Status.WARN, found=f"{where} answers", advice=error.message)]
        ours_ms = (asked_ms + clock.unix_ns() // 1_000_000) / 2  # when it answered, give or take half the way there
        nodes = await _nodes(connection, settings.tenant) if info.jetstream else {}
        return [
            Verdict(name="server", found=f"nats-server {info.version}, {where}"),
            jetstream(info),
            clocks((ours_ms - info.unix_ms) / 1000, nodes),
        ]
    finally:
        await connection.close()


def jetstream(info: ServerInfo) -> Verdict:
    """Whether durable work can be stored. Pure."""
    if info.jetstream:
        return Verdict(name="jetstream", found="on")
    found = f"server {info.name} stores nothing: JetStream is off"
    advice = "start it with --jetstream, or give this user's account JetStream"
    return Verdict(name="jetstream", status=Status.FAIL, found=found, advice=advice)


def clocks(ours_s: float, nodes: Mapping[str, float]) -> Verdict:
    """How far clocks are ahead of the server's, in seconds: this machine's, and those of nodes by name. Pure."""
    skews = {"this machine": ours_s, **nodes}
    worst = max(skews, key=lambda name: abs(skews[name]))
    off = abs(skews[worst])
    status = Status.FAIL if off > FAIL_SKEW_S else Status.WARN if off > WARN_SKEW_S else Status.OK
    found = f"{worst} is {off:.1f} s {'ahead of' if skews[worst] > 0 else 'behind'} the server"
    within = f"within {WARN_SKEW_S:g} s of the server: this machine and {len(nodes)} nodes"
    advice = "" if status is Status.OK else "synchronise the clocks (chrony, systemd-timesyncd): deadlines go by them"
    return Verdict(name="clocks", status=status, found=within if status is Status.OK else found, advice=advice)


async def _nodes(connection: Bus, tenant: str) -> dict[str, float]:
    """How far the nodes that are alive are ahead of the server: by the last batch of telemetry of each.

    The newest time in a batch is the node's, the time at which it was stored is the server's. A batch waits 0.1 s, and
    longer while the server is away: a node that was cut off looks as if it were behind.
    """
    directory = await Directory.open(connection, tenant)
    batches = {card.node: subjects.telemetry(tenant, card.node) for card in await directory.nodes()}
    found: dict[str, float] = {}
    for node, subject in batches.items():
        try:
            stored = await connection.streams.last(subject)
            batch = decode(stored.body) if stored is not None else None
        except (BusUnavailable, MessageError):
            continue  # no stream yet, or a batch of another version: nothing is known of this clock
        if stored is None or batch is None:
            continue
        times = [span.end_ns or span.start_ns for span in batch.spans] + [log.unix_ns for log in batch.logs]
        if times:
            found[node] = max(times) / 1e9 - stored.unix_ms / 1e3
    return found

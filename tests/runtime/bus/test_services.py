"""The services protocol, as other clients read it."""

import asyncio
import json
from pathlib import Path

import nats
import pytest
from nats.micro.service import ServicePing, ServiceStats

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.services import Endpoint, EndpointStats, ServiceInfo, serve_services
from antiphon.runtime.errors import ConfigurationError, NoResponders

SERVICE = ServiceInfo(
    name="writer",
    id="n1",
    version="0.1.0",
    started="2026-09-01T10:00:00.000000Z",
    description="Answers a question",
    metadata={"model": "smollm2-135m"},
    endpoints=[Endpoint(name="write", subject="antiphon.default.ask.writer.write", queue_group="writer")],
)


def _figures() -> dict[str, EndpointStats]:
    return {"write": EndpointStats(requests=4, errors=1, processing_ns=4_000, last_error="500:x")}


async def test_answers_every_scope() -> None:
    """PING, INFO and STATS answer for all, by name and by name and id, with the registered types."""
    bus = MemoryBus()
    services = await serve_services(bus, SERVICE, _figures)
    for verb in ("PING", "INFO", "STATS"):
        for scope in ("", ".writer", ".writer.n1"):
            said = json.loads((await bus.request(f"$SRV.{verb}{scope}", b"", timeout_s=60)).body)
            assert said["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
            assert (said["name"], said["id"], said["version"]) == ("writer", "n1", "0.1.0")
    with pytest.raises(NoResponders):
        await bus.request("$SRV.PING.critic", b"", timeout_s=60)
    await services.stop()
    with pytest.raises(NoResponders):
        await bus.request("$SRV.PING", b"", timeout_s=60)
    await bus.close()


@pytest.mark.nats
async def test_as_nats_py_reads_it(tmp_path: Path) -> None:
    """A plain client finds every instance, and nats-py's own types parse the answers."""
    async with embedded_server(tmp_path) as address:
        bus = await NatsBus.connect(address.url, address.token)
        await serve_services(bus, SERVICE, _figures)
        await serve_services(bus, ServiceInfo(name="critic", id="n2", version="1.0.0", started=SERVICE.started), dict)
        client = await nats.connect(address.url, token=address.token)
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish("$SRV.PING", reply=inbox)
        pings = [ServicePing.from_dict(json.loads((await answers.next_msg(60)).data)) for _ in range(2)]
        assert {(ping.name, ping.id) for ping in pings} == {("writer", "n1"), ("critic", "n2")}
        stats = ServiceStats.from_dict(json.loads((await client.request("$SRV.STATS.writer", timeout=60)).data))
        (endpoint,) = stats.endpoints
        assert (endpoint.num_requests, endpoint.num_errors, endpoint.average_processing_time) == (4, 1, 1_000)
        info = json.loads((await client.request("$SRV.INFO.writer.n1", timeout=60)).data)
        assert info["endpoints"][0]["subject"] == "antiphon.default.ask.writer.write"
        assert info["description"] == "Answers a question"
        await client.close()
        await asyncio.wait_for(bus.close(), 60)


@pytest.mark.parametrize(("name", "id", "version"), [("a b", "b", "1.0.0"), ("a", "", "1.0.0"), ("a", "b", "1")])
def test_illegal_identity(name: str, id: str, version: str) -> None:
    """A name, id or version that other clients refuse is refused here."""
    with pytest.raises(ConfigurationError):
        ServiceInfo(name=name, id=id, version=version, started="")

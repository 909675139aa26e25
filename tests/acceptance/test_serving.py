"""``antiphon serve``: replicas that die while requests flow, several tenants, and what is wrong said at once."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.models.bus import BusModel
from antiphon.runtime.models.exchange import Pace
from antiphon.runtime.models.inspection import inspect
from antiphon.runtime.models.structured import collect
from antiphon.schemas.inference import GenerateRequest, Reply, Role, Sampling, turn

if TYPE_CHECKING:
    from tests.acceptance.conftest import Eventually, Place

PACE = Pace(silence_s=4.0)  # twice a server's sign of life
READY = "Ctrl-C stops"
TOKENS = 40


@pytest.fixture
def served(place: "Place", tmp_path: Path) -> "Place":
    """A home whose settings have a tiny model."""
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", max_position_embeddings=8192, eos_token_id=None)
    place.more["ANTIPHON_MODELS"] = json.dumps({"tiny": str(checkpoint)})
    return place


async def bus_of(place: "Place") -> Bus:
    """A connection to the place's server."""
    settings = place.settings
    return await open_bus(settings.nats_url, None, settings.home, "test", settings.durability)


def request(number: int, max_tokens: int = TOKENS) -> GenerateRequest:
    """A request that no other is like."""
    return GenerateRequest(
        model="tiny",
        conversation=(turn(Role.USER, f"Say number {number}."),),
        sampling=Sampling(max_tokens=max_tokens),
    )


async def test_replicas_die_and_every_request_is_answered(served: "Place", eventually: "Eventually") -> None:
    """One of two replicas is killed, and the other's model process: errors are retryable, and retries succeed."""
    replicas = [served.start("serve", "tiny") for _ in range(2)]
    for replica in replicas:
        await asyncio.to_thread(replica.says, READY)
    bus = await bus_of(served)
    model = BusModel(bus, "default", "tiny", pace=PACE)
    failures: list[ModelUnavailable] = []

    async def answered(number: int) -> Reply:
        for _ in range(20):
            try:
                return await collect(model.generate(request(number)))
            except ModelUnavailable as error:
                assert error.retryable
                failures.append(error)
                await asyncio.sleep(0.5)  # what a policy of retries does between attempts
        pytest.fail(f"request {number} was never answered: {failures}")

    async with asyncio.timeout(120):
        alive = await inspect(bus, "default", "tiny", wait_s=1.0)
        assert len({metrics.server for metrics in alive}) == 2
        stuck = [asyncio.create_task(collect(model.generate(request(900 + n, 8000)))) for n in range(4)]
        flow = [asyncio.create_task(answered(number)) for number in range(24)]
        await asyncio.wait(flow, return_when=asyncio.FIRST_COMPLETED)
        replicas[0].process.kill()
        workers = _workers(served)
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        replies = await asyncio.gather(*flow)
        for ended in await asyncio.gather(*stuck, return_exceptions=True):
            assert isinstance(ended, ModelUnavailable | Reply), ended
        assert any(isinstance(ended.exception(), ModelUnavailable) for ended in stuck)
        # Random weights end a reply by chance, and which do depends on the batch.
        assert all(1 <= reply.finish.usage.output_tokens <= TOKENS for reply in replies)
        (left,) = await inspect(bus, "default", "tiny", wait_s=1.0)
        assert left.restarts == 1
    await bus.close()
    assert replicas[1].ends(signal.SIGTERM) == 0
    await asyncio.to_thread(eventually, lambda: not _workers(served))


async def test_one_process_serves_several_tenants(served: "Place") -> None:
    """Each on its own subjects; a third has no model there, and ``models status`` shows it."""
    server = served.start("serve", "tiny", "--tenant", "acme", "--tenant", "default")
    await asyncio.to_thread(server.says, READY)
    bus = await bus_of(served)
    for tenant in ("acme", "default"):
        reply = await collect(BusModel(bus, tenant, "tiny", pace=PACE).generate(request(1, 3)))
        assert reply.finish.usage.output_tokens == 3
    with pytest.raises(ModelUnavailable, match="nobody serves"):
        await collect(BusModel(bus, "stranger", "tiny", pace=PACE).generate(request(1, 3)))
    said = await asyncio.to_thread(served.command, "models", "status", "--json")
    (found,) = json.loads(said.stdout)["instances"]
    assert found["model"] == "tiny"
    assert found["restarts"] == 0
    await bus.close()


async def test_units_are_measured_and_then_sold(served: "Place") -> None:
    """Nothing is promised that was not measured; then the tenant is served, and more than there is is refused."""
    path = json.loads(served.more["ANTIPHON_MODELS"])["tiny"]

    def sell(units: float) -> None:
        table = {"kind": "local", "path": path, "itl_target_s": 5, "units": {"acme": units}}
        served.more["ANTIPHON_MODELS"] = json.dumps({"tiny": table})

    sell(3)
    said = await asyncio.to_thread(served.command, "models", "calibrate", "tiny", "--json", timeout_s=120)
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert found["capacity_tokens_per_minute"] == pytest.approx(found["units"] * found["unit_tokens_per_minute"])
    server = served.start("serve", "tiny")
    await asyncio.to_thread(server.says, READY)
    bus = await bus_of(served)
    for tenant in ("acme", "default"):
        await collect(BusModel(bus, tenant, "tiny", pace=PACE).generate(request(1, 3)))
    (metrics,) = await inspect(bus, "acme", "tiny", wait_s=1.0)
    assert metrics.engine is not None
    assert metrics.engine.flops_utilisation is not None
    await bus.close()
    sell(11)
    refused = await asyncio.to_thread(served.command, "serve", "tiny")
    assert refused.returncode == 1
    assert "sells 11 units" in refused.stderr


def test_what_cannot_be_served_is_said_at_once(served: "Place") -> None:
    """Units that nobody measured, a name that nobody knows, and one that is served elsewhere."""
    path = json.loads(served.more["ANTIPHON_MODELS"])["tiny"]
    served.more["ANTIPHON_MODELS"] = json.dumps(
        {"tiny": {"kind": "local", "path": path, "units": {"acme": 2}}, "far": "bus"}
    )
    for name, reason in (("tiny", "models calibrate tiny"), ("unheard", "is unknown"), ("far", 'is "bus"')):
        said = served.command("serve", name)
        assert said.returncode == 1
        assert reason in said.stderr


def _workers(place: "Place") -> list[int]:
    return [pid for pid, command in place.processes().items() if "antiphon.runtime.models.worker" in command]

"""The composition root: from settings to a Host, for nodes, clients and the console alike."""

import os
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from antiphon.runtime.approvals import Approvals
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.bus.topology import check_durable, ensure_streams
from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.delivery.cancel import Canceller
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.delivery.transport import Transport
from antiphon.runtime.directory import Directory
from antiphon.runtime.host import Host
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.policies.aside import Aside
from antiphon.runtime.policies.budget import BudgetInterceptor
from antiphon.runtime.policies.chain import build
from antiphon.runtime.policies.deadline import DeadlineInterceptor
from antiphon.runtime.policies.guard import guard
from antiphon.runtime.policies.intent import IntentInterceptor
from antiphon.runtime.policies.interceptor import PolicyInterceptor
from antiphon.runtime.policies.journal import JournalInterceptor
from antiphon.runtime.policies.ledger import Ledger
from antiphon.runtime.policies.live import LivePolicies
from antiphon.runtime.policies.remedies import remedies_of
from antiphon.runtime.policies.trace import TraceInterceptor
from antiphon.runtime.policies.written import Written
from antiphon.runtime.settings import Settings
from antiphon.runtime.telemetry.feed import Sink
from antiphon.runtime.telemetry.foreign_spans import ForeignSpans
from antiphon.runtime.telemetry.hashing import deployment_hash
from antiphon.runtime.telemetry.setup import disabled, start_telemetry
from antiphon.schemas import subjects
from antiphon.schemas.identity import new_id

_DURABLE = (subjects.Kind.TASK, subjects.Kind.JOURNAL, subjects.Kind.RESULT, subjects.Kind.DEAD)


def node_name(kind: str) -> str:
    """A name no other process has, such as ``node-3f9a01bc``."""
    return f"{kind}-{new_id()[:8]}"


@asynccontextmanager
async def open_host(
    settings: Settings,
    *,
    node: str,
    bus: Bus | None = None,
    models: ModelRegistry | None = None,
    clock: Clock | None = None,
    apart: bool = False,
    sinks: Sequence[Sink] = (),
) -> AsyncGenerator[Host, None]:
    """Everything a process needs, closed in reverse order.

    ``bus`` and ``models`` given from outside stay open; what is made here is closed here. Without a
    ``nats_url`` in the settings the embedded server is started, or joined if it runs. ``apart`` as ModelRegistry takes
    it. ``sinks`` see this
    process's telemetry batches as they leave it.

    Raises:
        BusUnavailable: the server cannot be reached or started.
        ConfigurationError: a setting or a stream that cannot be used.
    """
    async with AsyncExitStack() as stack:
        clock = clock or SystemClock()
        if bus is None:
            token = settings.nats_token.get_secret_value() if settings.nats_token is not None else None
            bus = await open_bus(settings.nats_url, token, settings.home, name=node, durability=settings.durability)
            stack.push_async_callback(bus.close)
        await ensure_streams(bus)
        await check_durable(bus, [subjects.every(kind, settings.tenant) for kind in _DURABLE])
        telemetry_subjects = [subjects.telemetry(settings.tenant, node, n) for n in range(settings.trace_shards)]
        carrier = bus

        async def publish(batch: bytes, message_id: str, shard: int) -> None:
            await carrier.streams.append(telemetry_subjects[shard], batch, message_id=message_id)

        content_hash = await deployment_hash(bus)
        telemetry = disabled()
        if settings.trace > 0:
            telemetry = start_telemetry(
                node,
                publish,
                foreign=ForeignSpans(content_hash, capture_content=settings.capture_content),
                clock=clock,
                environ=os.environ,
                sample=settings.trace,
                sinks=sinks,
                shards=settings.trace_shards,
            )
        stack.push_async_callback(telemetry.close)
        if models is None:
            models = ModelRegistry(settings, bus=bus, clock=clock, apart=apart)
            stack.push_async_callback(models.close)
        directory = await Directory.open(bus, settings.tenant)
        parking = await Parking.open(bus, settings.tenant)
        approvals = Approvals(bus, clock, settings.tenant, parking.wake)
        cancel = Canceller(bus, clock, parking, settings.tenant, result_ttl_s=settings.result_ttl_s)
        ledger = Ledger(bus, rng=random.Random(new_id()))
        policies, written, aside = LivePolicies(), Written(), Aside()
        stack.push_async_callback(aside.close)
        remedies = remedies_of(
            clock=clock,
            models=models,
            telemetry=telemetry,
            written=written,
            aside=aside,
            give_up=cancel.signal,
            rng=random.Random(new_id()),
        )
        max_body = settings.max_body_mb * 1024 * 1024
        perform = build(
            [
                JournalInterceptor(bus, clock),
                TraceInterceptor(telemetry, content_hash, node),
                DeadlineInterceptor(clock),
                guard,
                PolicyInterceptor(policies, remedies, written, clock),
                BudgetInterceptor(ledger, settings.models),
                IntentInterceptor(clock),
            ],
            Transport(
                bus,
                directory,
                models,
                clock,
                approvals,
                cancel,
                capture_content=settings.capture_content,
                max_body=max_body,
            ),
        )
        yield Host(
            node=node,
            tenant=settings.tenant,
            bus=bus,
            clock=clock,
            telemetry=telemetry,
            models=models,
            directory=directory,
            content_hash=content_hash,
            perform=perform,
            parking=parking,
            approvals=approvals,
            cancel=cancel,
            ledger=ledger,
            policies=policies,
            apply=settings.apply,
            trace_shards=settings.trace_shards,
            default_model=settings.default_model,
            result_ttl_s=settings.result_ttl_s,
            replay_window_s=settings.replay_window_s,
            max_body=max_body,
        )

"""How all the instances of a model on the bus do."""

import asyncio

from antiphon.runtime.bus.base import Bus, Delivery
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.models.exchange import inspection_of
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ERROR, Envelope
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import InspectModel, ModelMetrics


async def inspect(bus: Bus, tenant: str, model: str, *, wait_s: float) -> list[ModelMetrics]:
    """What each server of the model says within ``wait_s``, by its name. Raises BusError."""
    found: list[ModelMetrics] = []

    async def take(delivery: Delivery) -> None:
        if ERROR not in delivery.headers:
            found.append(decode(ModelMetrics, delivery.body))

    reply = subjects.stream(tenant, new_id())
    subscription = await bus.subscribe(reply, take)
    try:
        request = InspectModel(model=model)
        headers = Envelope(type=request.message_name, version=request.message_version).headers()
        await bus.publish(inspection_of(tenant, model), encode(request), headers, reply=reply)
        await asyncio.sleep(wait_s)
    finally:
        await subscription.stop()
    return sorted(found, key=lambda metrics: metrics.server)

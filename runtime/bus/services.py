"""The NATS services protocol (ADR-32): ``$SRV.PING|INFO|STATS[.name[.id]]``, so that ``nats micro`` sees agents.

Served over the ``Bus`` seam; the endpoints themselves are ordinary subscriptions of whoever calls this.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.runtime.bus.base import Bus, Delivery, Subscription
from antiphon.runtime.errors import ConfigurationError

_TYPE = "io.nats.micro.v1"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VERSION = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing that the service answers."""

    name: str
    subject: str
    queue_group: str = "q"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """A service instance: ``name`` is the kind, ``id`` the instance, ``started`` an RFC 3339 time in UTC."""

    name: str
    id: str
    version: str
    started: str
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    endpoints: Sequence[Endpoint] = ()

    def __post_init__(self) -> None:
        """Raises ConfigurationError for what other clients would not accept."""
        if not _NAME.fullmatch(self.name) or not _NAME.fullmatch(self.id):
            raise ConfigurationError(f"service {self.name!r} {self.id!r}: expected letters, digits, - and _")
        if not _VERSION.fullmatch(self.version):
            raise ConfigurationError(f"service {self.name!r}: version {self.version!r} is not of the form 1.2.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """What an endpoint has done since the start."""

    requests: int = 0
    errors: int = 0
    processing_ns: int = 0
    last_error: str = ""


class Services:
    """The subscriptions that answer for one instance."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._subscriptions = subscriptions

    async def stop(self) -> None:
        """Answer no more. Idempotent."""
        for subscription in self._subscriptions:
            await subscription.stop()


async def serve_services(bus: Bus, service: ServiceInfo, stats: Callable[[], Mapping[str, EndpointStats]]) -> Services:
    """Answer PING, INFO and STATS for ``service``; ``stats`` gives the figures by endpoint name.

    Raises:
        BusUnavailable: no server.
    """
    answers: dict[str, Callable[[], dict[str, object]]] = {
        "PING": lambda: _identity(service, "ping"),
        "INFO": lambda: _info(service),
        "STATS": lambda: _stats(service, stats()),
    }

    async def answer(delivery: Delivery) -> None:
        verb = delivery.subject.split(".")[1]
        if delivery.reply:
            await bus.publish(delivery.reply, json.dumps(answers[verb]()).encode())

    scopes = ("", f".{service.name}", f".{service.name}.{service.id}")
    return Services([await bus.subscribe(f"$SRV.{verb}{scope}", answer) for verb in answers for scope in scopes])


def _identity(service: ServiceInfo, kind: str) -> dict[str, object]:
    return {
        "type": f"{_TYPE}.{kind}_response",
        "name": service.name,
        "id": service.id,
        "version": service.version,
        "metadata": dict(service.metadata),
    }


def _info(service: ServiceInfo) -> dict[str, object]:
    endpoints = [
        {
            "name": endpoint.name,
            "subject": endpoint.subject,
            "queue_group": endpoint.queue_group,
            "metadata": dict(endpoint.metadata),
        }
        for endpoint in service.endpoints
    ]
    return {**_identity(service, "info"), "description": service.description, "endpoints": endpoints}


def _stats(service: ServiceInfo, figures: Mapping[str, EndpointStats]) -> dict[str, object]:
    return {
        **_identity(service, "stats"),
        "started": service.started,
        "endpoints": [_endpoint_stats(endpoint, figures.get(endpoint.name)) for endpoint in service.endpoints],
    }


def _endpoint_stats(endpoint: Endpoint, figures: EndpointStats | None) -> dict[str, object]:
    done = figures or EndpointStats()
    return {
        "name": endpoint.name,
        "subject": endpoint.subject,
        "queue_group": endpoint.queue_group,
        "num_requests": done.requests,
        "num_errors": done.errors,
        "last_error": done.last_error,
        "processing_time": done.processing_ns,
        "average_processing_time": done.processing_ns // done.requests if done.requests else 0,
        "data": None,
    }

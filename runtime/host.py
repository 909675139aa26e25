"""What one process offers to everything that runs in it: the object graph, built once by the composition root."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock
from antiphon.runtime.policies.chain import Next

if TYPE_CHECKING:
    from antiphon.runtime.approvals import Approvals
    from antiphon.runtime.delivery.cancel import Canceller
    from antiphon.runtime.delivery.parking import Parking
    from antiphon.runtime.directory import Directory
    from antiphon.runtime.models.registry import ModelRegistry
    from antiphon.runtime.policies.ledger import Ledger
    from antiphon.runtime.policies.live import LivePolicies
    from antiphon.runtime.telemetry.hashing import ContentHash
    from antiphon.runtime.telemetry.setup import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node's or client's facilities. ``perform`` is the interceptor chain down to the transport.

    ``apply``, ``trace_shards``, ``result_ttl_s``, ``replay_window_s`` and ``max_body`` (bytes) are those of the
    settings.
    """

    node: str
    tenant: str
    bus: Bus
    clock: Clock
    telemetry: "Telemetry"
    models: "ModelRegistry"
    directory: "Directory"
    content_hash: "ContentHash"
    perform: Next
    parking: "Parking"
    approvals: "Approvals"
    cancel: "Canceller"
    ledger: "Ledger"
    policies: "LivePolicies"
    apply: str
    trace_shards: int
    default_model: str
    result_ttl_s: float
    replay_window_s: float
    max_body: int

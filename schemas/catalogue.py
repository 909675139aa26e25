"""Which type a (name, version) on the wire means."""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from antiphon.schemas.approval import Approval, ToolProposal
from antiphon.schemas.finding import Finding
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.inference import (
    Accepted,
    Capabilities,
    ChunkBatch,
    DescribeModel,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    InspectModel,
    ModelMetrics,
    ReaderSignal,
    Reply,
)
from antiphon.schemas.message import Message
from antiphon.schemas.node import AgentCard, NodeCard
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.policy import Policy
from antiphon.schemas.score import Score
from antiphon.schemas.task import DeadLetter, ResumeStream, StreamBatch, TaskResult
from antiphon.schemas.telemetry import TelemetryBatch

BUILT_IN: tuple[type[Message], ...] = (
    TaskResult,
    DeadLetter,
    StreamBatch,
    ResumeStream,
    Approval,
    ToolProposal,
    ApplyFinding,
    DismissFinding,
    ParkedTask,
    Score,
    GenerateRequest,
    Accepted,
    ChunkBatch,
    ReaderSignal,
    Reply,
    EmbedRequest,
    Embeddings,
    DescribeModel,
    Capabilities,
    InspectModel,
    ModelMetrics,
    AgentCard,
    NodeCard,
    Finding,
    Policy,
)


class Catalogue:
    """Message types by wire identity. Values are added while a process is composed, then only read."""

    def __init__(self, types: Iterable[type[Message]] = BUILT_IN) -> None:
        self._types: dict[tuple[str, int], type[Message]] = {}
        for found in types:
            self.add(found)

    def add(self, found: type[Message]) -> None:
        """Register a type. Adding the same one again changes nothing.

        Raises:
            ValueError: another type already has this name and version.
        """
        key = (found.message_name, found.message_version)
        known = self._types.setdefault(key, found)
        if known is not found:
            raise ValueError(
                f"message {key[0]} version {key[1]} is both {known.__module__}.{known.__qualname__} and "
                f"{found.__module__}.{found.__qualname__}: give one of them name= or version="
            )

    def find(self, name: str, version: int) -> type[Message] | None:
        """The type of a wire identity, or None."""
        return self._types.get((name, version))

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions of a name that are known here, ascending."""
        return tuple(sorted(version for known, version in self._types if known == name))

    def json_schemas(self) -> dict[str, Any]:
        """JSON schema of every type, by ``Name@version``, telemetry batches included."""
        out = {f"{name}@{version}": found.model_json_schema() for (name, version), found in sorted(self._types.items())}
        out["TelemetryBatch@1"] = TypeAdapter(TelemetryBatch).json_schema()
        return out

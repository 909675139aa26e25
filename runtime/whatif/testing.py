"""A double of what nodes record: spans as the runtime writes them, for tests of whatever reads traces."""

from collections.abc import Sequence
from typing import Any

from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.telemetry import SpanRecord

T0_NS = 1_700_000_000_000_000_000
MS = 1_000_000
S = 1_000_000_000


class Traced:
    """Builds one trace; times are milliseconds from its start."""

    def __init__(self, number: int, *, at_ms: float | None = None, run: str | None = None) -> None:
        self.number = number
        self.trace_id = number.to_bytes(16, "big")
        self.run = run or f"run{number}"
        self.at_ns = T0_NS + int((10_000 * number if at_ms is None else at_ms) * MS)
        self.spans: list[SpanRecord] = []
        self.nodes: dict[bytes, str] = {}

    def add(
        self,
        parent: SpanRecord | None,
        name: str,
        start_ms: float,
        end_ms: float,
        *,
        kind: int = 0,
        node: str = "n1",
        status: int = 0,
        **attributes: Any,
    ) -> SpanRecord:
        """Any span; ``__`` in a keyword stands for a dot."""
        span = SpanRecord(
            trace_id=self.trace_id,
            span_id=(self.number * 100_000 + len(self.spans) + 1).to_bytes(8, "big"),
            parent_id=None if parent is None else parent.span_id,
            name=name,
            kind=kind,
            start_ns=self.at_ns + int(start_ms * MS),
            end_ns=self.at_ns + int(end_ms * MS),
            status=status,
            attributes={key.replace("__", "."): value for key, value in attributes.items() if value is not None},
        )
        self.spans.append(span)
        self.nodes[span.span_id] = node
        return span

    def ask(
        self,
        parent: SpanRecord | None,
        target: str,
        start_ms: float,
        end_ms: float,
        *,
        causes: Sequence[str] | None = None,
        wait_ms: float = 0.0,
        capacity: int | None = 16,
        active: int = 1,
        depth: int = 0,
        node: str = "n1",
        status: int = 0,
        attempt: int = 1,
        operation: str = "ask",
        skew_ms: float = 0.0,
        hop_ms: float = 0.0,
        **attributes: Any,
    ) -> SpanRecord:
        """A publish span and the process span below it, which is returned."""
        agent, _, handler = target.partition(".")
        published = self.add(
            parent,
            "publish antiphon.{tenant}.ask.{agent}.{handler}",
            start_ms,
            end_ms,
            kind=3,
            status=status,
            antiphon__operation=operation,
            messaging__destination__name=f"antiphon.default.ask.{target}",
            antiphon__msg__causes=None if causes is None else list(causes),
            **attributes,
        )
        begin_ms = start_ms + wait_ms + hop_ms + skew_ms
        pool = None if capacity is None else f"agent:{agent}@{node}"
        return self.add(
            published,
            "process antiphon.{tenant}.ask.{agent}.{handler}",
            begin_ms,
            end_ms - hop_ms + skew_ms,
            kind=4,
            node=node,
            status=status,
            antiphon__agent=agent,
            antiphon__handler=handler,
            antiphon__run=self.run,
            antiphon__attempt=attempt,
            **{
                attr.QUEUE_ENTER_NS: self.at_ns + int((start_ms + hop_ms) * MS),
                attr.QUEUE_DEQUEUE_NS: self.at_ns + int(begin_ms * MS),
                attr.QUEUE_DEPTH: depth,
                attr.POOL_ID: pool,
                attr.POOL_CAPACITY: capacity,
                attr.POOL_ACTIVE: None if capacity is None else active,
            },
        )

    def model(
        self,
        parent: SpanRecord,
        start_ms: float,
        end_ms: float,
        *,
        causes: Sequence[str] | None = None,
        model: str = "m",
        tokens: int = 100,
        output: int = 20,
        content: str | None = None,
        deterministic: bool = True,
        **attributes: Any,
    ) -> SpanRecord:
        """A model call."""
        return self.add(
            parent,
            f"chat {model}",
            start_ms,
            end_ms,
            kind=2,
            antiphon__operation="model",
            gen_ai__request__model=model,
            gen_ai__response__model=model,
            gen_ai__usage__input_tokens=tokens,
            gen_ai__usage__output_tokens=output,
            antiphon__deterministic=deterministic,
            antiphon__msg__causes=None if causes is None else list(causes),
            antiphon__input__sha256=content,
            antiphon__result__sha256=content,
            **attributes,
        )

    def tool(
        self,
        parent: SpanRecord,
        name: str,
        start_ms: float,
        end_ms: float,
        *,
        causes: Sequence[str] | None = None,
        effect: str | None = "read",
        content: str | None = None,
        **attributes: Any,
    ) -> SpanRecord:
        """A tool call."""
        return self.add(
            parent,
            f"execute_tool {name}",
            start_ms,
            end_ms,
            antiphon__operation="tool",
            gen_ai__tool__name=name,
            antiphon__effect=effect,
            antiphon__msg__causes=None if causes is None else list(causes),
            antiphon__input__sha256=content,
            antiphon__result__sha256=content,
            **attributes,
        )

    def publish_of(self, process: SpanRecord) -> SpanRecord:
        """The publish span above a process span."""
        return next(s for s in self.spans if s.span_id == process.parent_id)

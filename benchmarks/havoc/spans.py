"""The span tree of a chaos run: whatever was finished hangs where the program made it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from antiphon.runtime.store.query import Reader
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.telemetry import SpanRecord
from havoc.fleet import Kill
from havoc.ledger import Start
from havoc.plan import Victim
from havoc.record import Record

FLUSH_MS = 2_000  # telemetry waits this long at most before it is sent
MAX_SPANS = 5_000  # of one run; a root of ours has some thirty


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanVerdict:
    """``lost_parents``: spans whose parent never reached the store, and a kill explains it. Not an error."""

    spans: int
    wrong_parent: int
    unlinked_redeliveries: int
    unexplained_unfinished: int
    lost_parents: int
    details: tuple[str, ...]


def check_spans(
    reader: Reader, roots: Iterable[str], record: Record, starts: Sequence[Start], kills: Sequence[Kill]
) -> SpanVerdict:
    """Hold the stored spans of all ``roots`` (runs) against the tasks."""
    losses = _Losses(record, starts, kills)
    details: dict[str, list[str]] = defaultdict(list)
    count = 0
    for root in roots:
        found = reader.run(root, max_spans=MAX_SPANS)
        if found is None:
            kind = "lost_parents" if losses.with_server(0, root) else "wrong_parent"
            details[kind].append(f"run {root} is not in the store")
            continue
        tree = _Tree({span.span_id: span for span in found.spans}, record, losses)
        count += len(found.spans)
        for span in found.spans:
            for kind, line in tree.problems(span):
                details[kind].append(f"{span.name} {span.attributes.get(names.NODE, '')} of run {root}: {line}")
    return SpanVerdict(
        spans=count,
        wrong_parent=len(details["wrong_parent"]),
        unlinked_redeliveries=len(details["unlinked_redeliveries"]),
        unexplained_unfinished=len(details["unexplained_unfinished"]),
        lost_parents=len(details.pop("lost_parents", ())),
        details=tuple(f"{kind}: {line}" for kind, lines in details.items() for line in lines[:5]),
    )


class _Losses:
    """Which spans the kills may have taken: those still in a node, and batches on their way to a server."""

    def __init__(self, record: Record, starts: Sequence[Start], kills: Sequence[Kill]) -> None:
        self.nodes = {kill.name for kill in kills if kill.victim is Victim.NODE}
        self._servers_ms = [kill.unix_ms for kill in kills if kill.victim is not Victim.NODE]
        self._record = record
        self._starts: dict[str, list[Start]] = defaultdict(list)
        for start in starts:
            self._starts[start.task].append(start)

    def with_node(self, task: str) -> bool:
        """Whether an attempt of ``task`` was on a node that was killed, early or late."""
        return any(start.node in self.nodes for start in self._starts[task])

    def with_server(self, since_ms: int, task: str) -> bool:
        """Whether a server was killed between ``since_ms`` (0: the first start) and the end of ``task``."""
        since_ms = since_ms or min((start.unix_ms for start in self._starts[task]), default=0)
        end = self._record.ends.get(task)
        until_ms = end.unix_ms if end is not None else since_ms
        return any((since_ms or until_ms) - FLUSH_MS <= kill <= until_ms + FLUSH_MS for kill in self._servers_ms)

    def with_both(self, task: str, node: str) -> bool:
        """Whether the record of a start went with a server, and that of its end with the node."""
        began = [start.unix_ms for start in self._starts[task] if start.node == node]
        return node in self.nodes and any(0 <= kill - ms <= FLUSH_MS for kill in self._servers_ms for ms in began)


@dataclass(frozen=True, slots=True)
class _Tree:
    """The spans of one run."""

    spans: Mapping[bytes, SpanRecord]
    record: Record
    losses: _Losses

    def problems(self, span: SpanRecord) -> Iterable[tuple[str, str]]:
        """What is wrong with a span: which count it belongs to, and a line."""
        if not span.end_ns:
            # A parked task may wake on another node, and die there before that node's start record is written.
            task = str(span.attributes.get(names.TASK, ""))
            known = span.attributes.get(names.NODE) in self.losses.nodes or self.losses.with_node(task)
            if not known and not self.losses.with_server(_sent_ms(span), task):
                yield "unexplained_unfinished", "its node was not killed"
            return
        processes = span.name.startswith("process")
        if processes and [(link.trace_id, link.span_id) for link in span.links] != [(span.trace_id, span.parent_id)]:
            yield "unlinked_redeliveries", f"attempt {span.attributes.get(names.ATTEMPT)} links to {span.links}"
        if span.parent_id is None:
            if names.AGENT in span.attributes or processes:
                yield "wrong_parent", "it has none"
            return
        parent = self.spans.get(span.parent_id)
        if parent is None:
            if self._may_be_lost(span):
                yield "lost_parents", ""
            else:
                yield "wrong_parent", "its parent was never recorded, and no kill explains that"
            return
        wrong = self._wrong_sender(span, parent) if processes else self._wrong_handler(span, parent)
        if wrong:
            yield "wrong_parent", wrong

    def _may_be_lost(self, span: SpanRecord) -> bool:
        """A sender's span is written when it ends, a handler's when it starts as well."""
        mine = str(span.attributes.get(names.TASK, ""))
        if not span.name.startswith("process"):
            return self.losses.with_both(mine, str(span.attributes.get(names.NODE, "")))
        task = self.record.tasks.get(mine)
        sender = task.parent if task is not None and task.parent else str(span.attributes.get(names.RUN, ""))
        return self.losses.with_node(sender) or self.losses.with_server(_sent_ms(span), sender)

    def _wrong_sender(self, span: SpanRecord, parent: SpanRecord) -> str:
        if parent.name != span.name.replace("process", "publish", 1):
            return f"its parent is {parent.name}"
        task = self.record.tasks.get(str(span.attributes.get(names.TASK, "")))
        sender = str(parent.attributes.get(names.TASK, ""))
        if task is not None and task.parent and task.parent != sender:
            return f"it was called by {task.parent}, its parent span is of {sender}"
        return ""

    def _wrong_handler(self, span: SpanRecord, parent: SpanRecord) -> str:
        if not parent.name.startswith("process"):
            return f"its parent is {parent.name}"
        # A handler that was parked goes on elsewhere, and may die there: its start record is of the first node.
        moved = names.PARKED_NS in parent.attributes or not parent.end_ns
        alike = (names.TASK,) if moved else (names.TASK, names.NODE)
        for key in alike:
            if span.attributes.get(key) != parent.attributes.get(key):
                return f"{key} is {span.attributes.get(key)}, its parent's {parent.attributes.get(key)}"
        if span.start_ns < parent.start_ns or (parent.end_ns and span.start_ns > parent.end_ns):
            return "it began outside its parent"
        return ""


def _sent_ms(span: SpanRecord) -> int:
    return int(span.attributes.get(names.QUEUE_ENTER_NS, span.start_ns)) // 1_000_000

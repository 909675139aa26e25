"""Every subject is built and parsed here: one builder and one parser each, no f-string subject elsewhere."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from antiphon.schemas.identity import Address, check_name, check_task, check_topic, check_version, derived_id

ROOT = "antiphon"
KEY_LANES = tuple(f"p{number}" for number in range(16))  # of a keyed handler: so many of its keys are served at once


class Kind(StrEnum):
    """The third token: what travels on the subject."""

    ASK = "ask"  # low-latency request and reply, core NATS
    TASK = "task"  # durable work
    JOURNAL = "journal"  # what an unfinished task has done so far
    RESULT = "result"  # the one terminal outcome of a task
    EVENT = "event"  # publish/subscribe between agents
    STREAM = "stream"  # numbered chunks of a running task, core NATS
    MODEL = "model"  # inference requests to instances elsewhere, core NATS
    CONTROL = "control"  # cancel, drain, resume
    TELEMETRY = "telemetry"  # span and log batches
    FINDING = "finding"  # what the logging agent says
    DEAD = "dead"  # what could not be delivered
    SESSION = "session"  # conversations: nodes and heads

    __hash__ = str.__hash__  # in C; an enumeration's own is Python, and every message looks up its kind


class SubjectError(ValueError):
    """A subject that is not one of ours."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The parts of a subject: ``antiphon.{tenant}.{kind}.{rest…}``."""

    tenant: str
    kind: Kind
    rest: tuple[str, ...]


@lru_cache(maxsize=4096)
def _prefix(tenant: str, kind: Kind) -> str:
    return f"{ROOT}.{check_name('tenant', tenant)}.{kind.value}."


def _build(tenant: str, kind: Kind, *rest: str) -> str:
    return _prefix(tenant, kind) + ".".join(rest)


def parse(subject: str) -> Parsed:
    """The tenant, kind and remaining tokens of a subject.

    Raises:
        SubjectError: it is not ``antiphon.{tenant}.{kind}.…`` with at least one more token.
    """
    tokens = subject.split(".")
    if len(tokens) < 4 or tokens[0] != ROOT or not all(tokens):
        raise SubjectError(f"subject {subject!r}: expected antiphon.TENANT.KIND.…")
    try:
        kind = Kind(tokens[2])
    except ValueError:
        kinds = ", ".join(k.value for k in Kind)
        raise SubjectError(f"subject {subject!r}: {tokens[2]!r} is none of {kinds}") from None
    return Parsed(tenant=tokens[1], kind=kind, rest=tuple(tokens[3:]))


def _parse(subject: str, kind: Kind, tokens: int | None) -> Parsed:
    parsed = parse(subject)
    if parsed.kind is not kind or (tokens is not None and len(parsed.rest) != tokens):
        shape = "any number of" if tokens is None else tokens
        raise SubjectError(f"subject {subject!r}: expected kind {kind.value!r} with {shape} more tokens")
    return parsed


@lru_cache(maxsize=4096)  # on the path of every request
def ask(tenant: str, to: Address) -> str:
    """Where ``to`` answers low-latency requests; queue group = agent."""
    return _build(tenant, Kind.ASK, to.agent, to.handler)


def parse_ask(subject: str) -> Address:
    """Who is asked. Raises SubjectError."""
    return Address(*_parse(subject, Kind.ASK, 2).rest)


@lru_cache(maxsize=4096)
def task(tenant: str, to: Address, lane: str = "") -> str:
    """Where durable work for ``to`` is stored.

    ``lane``: a part of the handler's work with its own consumer, such as one partition of its keys or one version
    of its code; empty for the rest.
    """
    if lane:
        return _build(tenant, Kind.TASK, to.agent, to.handler, check_name("lane", lane))
    return _build(tenant, Kind.TASK, to.agent, to.handler)


@lru_cache(maxsize=4096)
def parse_task(subject: str) -> Address:
    """Who is to do the work, whatever the lane. Raises SubjectError."""
    rest = _parse(subject, Kind.TASK, None).rest
    if len(rest) not in (2, 3):
        raise SubjectError(f"subject {subject!r}: expected an agent, a handler and perhaps a lane")
    return Address(rest[0], rest[1])


@lru_cache(maxsize=4096)
def task_lane(subject: str) -> str:
    """The lane of a task subject, or empty. Raises SubjectError."""
    rest = _parse(subject, Kind.TASK, None).rest
    return rest[2] if len(rest) == 3 else ""


def tasks_of(tenant: str, agent: str) -> str:
    """Filter for the durable work of one agent outside its lanes."""
    return _build(tenant, Kind.TASK, check_name("agent", agent), "*")


def key_lane(key: str) -> str:
    """The lane of a keyed handler for this key: the same in every process."""
    return KEY_LANES[int(derived_id(key)[:8], 16) % len(KEY_LANES)]


def version_lane(version: str) -> str:
    """The lane for one version of an agent's code, such as ``v-2``. Raises InvalidName.

    What a lane's name may not have is escaped: ``_`` as ``__``, ``.`` as ``_-``, ``A`` as ``_a``.
    """
    return "v-" + "".join(_escaped(character) for character in check_version(version))


def _escaped(character: str) -> str:
    if character in "._":
        return "_-" if character == "." else "__"
    return f"_{character.lower()}" if character.isupper() else character


def lane_version(lane: str) -> str:
    """The version that a lane is for; empty for other lanes and none."""
    if not lane.startswith("v-"):
        return ""
    found, characters = "", iter(lane[2:])
    for character in characters:
        if character == "_":
            escaped = next(characters, "_")
            character = {"_": "_", "-": "."}.get(escaped, escaped.upper())
        found += character
    return found


def lane_of(tenant: str, agent: str, lane: str) -> str:
    """Filter for one lane of one agent."""
    return _build(tenant, Kind.TASK, check_name("agent", agent), "*", check_name("lane", lane))


def journal(tenant: str, task_id: str) -> str:
    """The journal of one unfinished task."""
    return _build(tenant, Kind.JOURNAL, check_task(task_id))


def parse_journal(subject: str) -> str:
    """The task id. Raises SubjectError."""
    return _parse(subject, Kind.JOURNAL, 1).rest[0]


def result(tenant: str, task_id: str) -> str:
    """The one terminal outcome of a task."""
    return _build(tenant, Kind.RESULT, check_task(task_id))


def parse_result(subject: str) -> str:
    """The task id. Raises SubjectError."""
    return _parse(subject, Kind.RESULT, 1).rest[0]


def event(tenant: str, topic: str) -> str:
    """An event topic, dots allowed."""
    return _build(tenant, Kind.EVENT, check_topic(topic))


def parse_event(subject: str) -> str:
    """The topic. Raises SubjectError."""
    return ".".join(_parse(subject, Kind.EVENT, None).rest)


def stream(tenant: str, task_id: str) -> str:
    """Chunks of a running task."""
    return _build(tenant, Kind.STREAM, check_task(task_id))


def parse_stream(subject: str) -> str:
    """The task id. Raises SubjectError."""
    return _parse(subject, Kind.STREAM, 1).rest[0]


def model(tenant: str, name: str) -> str:
    """Inference requests to any instance of a model; queue group = model."""
    return _build(tenant, Kind.MODEL, check_name("model", name))


def parse_model(subject: str) -> str:
    """The model name. Raises SubjectError."""
    return _parse(subject, Kind.MODEL, 1).rest[0]


def replica(tenant: str, name: str, node: str) -> str:
    """Inference requests to the instance of a model that one node serves."""
    return _build(tenant, Kind.MODEL, check_name("model", name), check_name("node", node))


def parse_replica(subject: str) -> tuple[str, str]:
    """(model, node). Raises SubjectError."""
    name, node = _parse(subject, Kind.MODEL, 2).rest
    return name, node


def control(tenant: str, target: str, id: str) -> str:
    """Signals to an agent, node or model about one task, request or lease."""
    return _build(tenant, Kind.CONTROL, check_name("control target", target), check_task(id))


def parse_control(subject: str) -> tuple[str, str]:
    """(target, id). Raises SubjectError."""
    target, id = _parse(subject, Kind.CONTROL, 2).rest
    return target, id


def telemetry(tenant: str, node: str, shard: int = 0) -> str:
    """Span and log batches of one node. ``shard``: of all traces, those that are read together."""
    return _build(tenant, Kind.TELEMETRY, check_name("node", node), *([f"s{shard}"] if shard else []))


def telemetry_shard(tenant: str, shard: int) -> str:
    """Filter for the batches of one shard, of all nodes."""
    return _build(tenant, Kind.TELEMETRY, "*", *([f"s{shard}"] if shard else []))


def parse_telemetry(subject: str) -> str:
    """The node. Raises SubjectError."""
    rest = _parse(subject, Kind.TELEMETRY, None).rest
    if len(rest) > 2:
        raise SubjectError(f"subject {subject!r}: expected a node and perhaps a shard")
    return rest[0]


def finding(tenant: str, pattern: str) -> str:
    """Findings of one pattern, such as ``p3``."""
    return _build(tenant, Kind.FINDING, check_name("pattern", pattern))


def parse_finding(subject: str) -> str:
    """The pattern. Raises SubjectError."""
    return _parse(subject, Kind.FINDING, 1).rest[0]


def dead(tenant: str, agent: str) -> str:
    """Dead letters of one agent."""
    return _build(tenant, Kind.DEAD, check_name("agent", agent))


def parse_dead(subject: str) -> str:
    """The agent. Raises SubjectError."""
    return _parse(subject, Kind.DEAD, 1).rest[0]


def session_head(tenant: str, id: str) -> str:
    """Where the conversation of one agent and key ends."""
    return _build(tenant, Kind.SESSION, "head", check_task(id))


def session_heads(tenant: str) -> str:
    """Filter for the heads of all conversations."""
    return _build(tenant, Kind.SESSION, "head", "*")


def session_node(tenant: str, address: str) -> str:
    """A part of a conversation, by the hash of its content."""
    return _build(tenant, Kind.SESSION, "node", check_task(address))


def parse_session(subject: str) -> tuple[str, str]:
    """(``head`` or ``node``, its id or address). Raises SubjectError."""
    what, id = _parse(subject, Kind.SESSION, 2).rest
    return what, id


def every(kind: Kind, tenant: str | None = None) -> str:
    """Wildcard over everything of one kind, of one tenant or of all (None)."""
    return f"{ROOT}.{'*' if tenant is None else check_name('tenant', tenant)}.{kind.value}.>"


def every_event(topic: str) -> str:
    """The events of one topic, of all tenants."""
    return f"{ROOT}.*.{Kind.EVENT.value}.{check_topic(topic)}"


@lru_cache(maxsize=32)
def template(subject_kind: Kind) -> str:
    """The low-cardinality name of a subject for span names and metrics."""
    rest = {
        Kind.ASK: "{agent}.{handler}",
        Kind.TASK: "{agent}.{handler}",
        Kind.EVENT: "{topic}",
        Kind.MODEL: "{model}",
        Kind.CONTROL: "{target}.{id}",
        Kind.TELEMETRY: "{node}",
        Kind.FINDING: "{pattern}",
        Kind.DEAD: "{agent}",
        Kind.SESSION: "{part}.{id}",
    }.get(subject_kind, "{task}")
    return f"{ROOT}.{{tenant}}.{subject_kind.value}.{rest}"

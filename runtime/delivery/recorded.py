"""Operations as journal entries, and entries as what the handler was told."""

import builtins
import hashlib

import msgspec

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.delivery.bodies import keep_blob, read_blob
from antiphon.runtime.delivery.journal import Owner
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import from_info, to_info
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome
from antiphon.schemas.inference import GenerateRequest
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.task import ErrorInfo

MAX_VALUE = 131_072  # bytes of a result kept in the entry itself; a larger one is a blob


def fingerprint(body: bytes) -> str:
    """What a request is recognised by when it is made again: 16 hexadecimal digits."""
    return hashlib.blake2b(body, digest_size=8).hexdigest()


async def result_entry(
    bus: Bus,
    owner: Owner,
    operation: Operation,
    request: str,
    outcome: Outcome,
    started_ms: int,
    ended_ms: int,
    known_blocks: set[str],
) -> Entry:
    """The entry of an operation that returned. Turns in ``known_blocks`` are referred to, not stored again.

    So a conversation of n turns takes n blocks in the journal, however often it was sent.
    """
    value, digest = outcome.record or outcome.body, ""
    if len(value) > MAX_VALUE:
        value, digest = b"", await keep_blob(bus, value, owner.tenant, owner.task)
    conversation: tuple[str, ...] = ()
    blocks: dict[str, bytes] | None = None
    if operation.kind is OperationKind.MODEL:
        conversation, blocks = _conversation(operation, known_blocks)
    return Entry(
        kind=EntryKind.OPERATION,
        path=operation.path,
        operation=operation.kind.value,
        target=operation.target,
        request=request,
        effect=operation.effect.value,
        value=value,
        digest=digest,
        span=operation.span.span_id.hex() if operation.span is not None else "",
        started_unix_ms=started_ms,
        ended_unix_ms=ended_ms,
        conversation=conversation,
        blocks=blocks,
    )


def error_entry(operation: Operation, request: str, error: Exception, started_ms: int, ended_ms: int) -> Entry:
    """The entry of an operation that raised."""
    return Entry(
        kind=EntryKind.OPERATION,
        path=operation.path,
        operation=operation.kind.value,
        target=operation.target,
        request=request,
        effect=operation.effect.value,
        error=to_info(error).model_dump_json().encode(),
        span=operation.span.span_id.hex() if operation.span is not None else "",
        started_unix_ms=started_ms,
        ended_unix_ms=ended_ms,
    )


def raised(entry: Entry) -> Exception:
    """The exception an entry stands for: ours and Python's own by type, any other as HandlerFailed."""
    info = ErrorInfo.model_validate_json(entry.error)
    built_in = getattr(builtins, info.type, None)
    if isinstance(built_in, type) and issubclass(built_in, Exception):
        try:
            return built_in(info.message)
        except TypeError:  # one that takes more than a message, such as UnicodeDecodeError
            return from_info(info)
    return from_info(info)


async def value_of_entry(bus: Bus, entry: Entry) -> bytes:
    """The recorded bytes. Raises BusError if their blob is missing."""
    return await read_blob(bus, entry.digest) if entry.digest else entry.value


def _conversation(operation: Operation, known: set[str]) -> tuple[tuple[str, ...], dict[str, bytes] | None]:
    call = operation.request
    if not isinstance(call, ModelCall) or not isinstance(call.request, GenerateRequest):
        return (), None
    hashes: list[str] = []
    new: dict[str, bytes] = {}
    for turn in call.request.conversation:
        block = msgspec.json.encode(turn.model_dump(mode="json"))
        name = fingerprint(block)
        hashes.append(name)
        if name not in known:
            new[name] = block
    known.update(new)
    return tuple(hashes), new or None

"""Payloads: a message to bytes, and bytes to the message a handler expects or a typed error."""

from typing import TypeVar

from pydantic import ValidationError

from antiphon.runtime.errors import InvalidMessage, UnknownType, UnknownVersion
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.message import Message

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The message's JSON."""
    return message.__pydantic_serializer__.to_json(message)


def decode(expected: type[M], body: bytes, envelope: Envelope | None = None) -> M:
    """The message in ``body``; an envelope that names a type must name this one.

    Raises:
        UnknownType: the envelope names another type.
        UnknownVersion: the right type in a version this side does not read.
        InvalidMessage: malformed JSON, or a body that fails validation; the message says where.
    """
    if envelope is not None and envelope.type:
        if envelope.type != expected.message_name:
            raise UnknownType(
                f"message type {envelope.type!r}: expected {expected.message_name!r} here",
                found=envelope.type,
                expected=expected.message_name,
            )
        if envelope.version != expected.message_version:
            raise UnknownVersion(
                f"{envelope.type} version {envelope.version}: this side reads version {expected.message_version}; "
                "bring sender and receiver to the same version",
                found=envelope.version,
                expected=expected.message_version,
            )
    try:
        return expected.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return]  # a core validator is untyped
    except ValidationError as error:
        raise InvalidMessage(f"{expected.message_name}: {problems(error)}", type=expected.message_name) from None


def problems(error: ValidationError) -> str:
    """A validation error on one line: ``text: Field required; n: Input should be a valid integer``."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(str(step) for step in item['loc']) or 'body'}: {item['msg']}" for item in found[:5]]
    more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
    return "; ".join(lines) + more

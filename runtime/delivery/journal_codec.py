"""Journal batches as bytes: msgpack, because results travel inside as they are."""

import msgspec

from antiphon.runtime.errors import InvalidMessage
from antiphon.schemas.journal import JournalBatch

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(JournalBatch)


def encode_batch(batch: JournalBatch) -> bytes:
    """The batch's msgpack."""
    return _ENCODER.encode(batch)


def decode_batch(body: bytes) -> JournalBatch:
    """The batch in ``body``.

    Raises:
        InvalidMessage: it is none; the task's journal was written by something else.
    """
    try:
        return _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise InvalidMessage(f"journal batch: {error}; expected what this version of antiphon writes") from None

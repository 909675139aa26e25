"""What a prompt is made of, as the detectors need it: segments and rolling block hashes."""

import hashlib
from collections.abc import Sequence

from antiphon.runtime.models.pieces import pieces
from antiphon.schemas.inference import ToolSpec, Turn

BLOCK_CHARACTERS = 1024  # about 256 tokens of English; used where the instance reports no token blocks


def segments(conversation: Sequence[Turn]) -> list[str]:
    """``name:bytes:hash`` of each piece of each turn, in prompt order; the name is the turn's segment, else its role.

    Long turns are several pieces, so that a date in the middle of a system prompt leaves what follows recognisable.
    """
    found = []
    for turn in conversation:
        name = turn.segment or turn.role.value
        for piece in pieces("".join(part.model_dump_json() for part in turn.parts)):
            raw = piece.encode()
            found.append(f"{name}:{len(raw)}:{hashlib.sha256(raw).hexdigest()[:16]}")
    return found


def tool_sizes(tools: Sequence[ToolSpec]) -> list[str]:
    """``name:bytes`` of each tool that the model is offered; the bytes are those of its description as JSON."""
    return [f"{tool.name}:{len(tool.model_dump_json().encode())}" for tool in tools]


def text_blocks(conversation: Sequence[Turn]) -> list[str]:
    """Rolling hashes of the prompt's text, one per 1,024 characters: equal lists mean an equal beginning."""
    text = "".join(f"{turn.role.value}\n{part.model_dump_json()}\n" for turn in conversation for part in turn.parts)
    digest = hashlib.sha256()
    found = []
    for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        digest.update(text[start : start + BLOCK_CHARACTERS].encode())
        found.append(digest.hexdigest()[:16])
    return found

"""What a prompt is made of, as the detectors need it: segments and rolling block hashes."""

import hashlib
from collections.abc import Sequence

from antiphon.schemas.inference import Turn

BLOCK_CHARACTERS = 1024  # about 256 tokens of English; used where the instance reports no token blocks


def segments(conversation: Sequence[Turn]) -> list[str]:
    """``name:bytes:hash`` of each turn in prompt order; the name is the turn's segment, else its role."""
    found = []
    for turn in conversation:
        raw = "".join(part.model_dump_json() for part in turn.parts).encode()
        found.append(f"{turn.segment or turn.role.value}:{len(raw)}:{hashlib.sha256(raw).hexdigest()[:16]}")
    return found


def text_blocks(conversation: Sequence[Turn]) -> list[str]:
    """Rolling hashes of the prompt's text, one per 1,024 characters: equal lists mean an equal beginning."""
    text = "".join(f"{turn.role.value}\n{part.model_dump_json()}\n" for turn in conversation for part in turn.parts)
    digest = hashlib.sha256()
    found = []
    for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        digest.update(text[start : start + BLOCK_CHARACTERS].encode())
        found.append(digest.hexdigest()[:16])
    return found

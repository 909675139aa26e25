"""Names for prompt prefixes, so that calls which share one can be found without their text."""

import hashlib
import struct
from collections.abc import Sequence

BLOCK_TOKENS = 256


def prompt_blocks(prompt: Sequence[int]) -> tuple[str, ...]:
    """A rolling hash for each whole block of 256 tokens: SHA-256 over the one before and the ids as little-endian
    32-bit numbers, first 16 hex digits. Two prompts share block i exactly if they share all up to it."""
    names = []
    digest = b""
    for start in range(0, len(prompt) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = prompt[start : start + BLOCK_TOKENS]
        digest = hashlib.sha256(digest + struct.pack(f"<{BLOCK_TOKENS}I", *block)).digest()
        names.append(digest.hex()[:16])
    return tuple(names)

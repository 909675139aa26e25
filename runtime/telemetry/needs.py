"""Without which facts a detector says nothing: so that silence can be told from a system that wastes nothing."""

from collections.abc import Collection, Mapping
from typing import Final

from antiphon.runtime.telemetry import attributes as attr

Either = tuple[str, ...]  # one of these facts is enough

NEEDS: Final[Mapping[str, tuple[Either, ...]]] = {
    "p1": ((attr.OPERATION,), (attr.CAUSES, attr.GROUP_WIDTH)),
    "p2": ((attr.INPUT_HASH,),),
    "p3": ((attr.INPUT_HASH,), (attr.DETERMINISTIC, attr.EFFECT)),
    "p4": ((attr.INPUT_HASH,), (attr.RESULT_HASH,)),
    "p6": ((attr.INPUT_HASH,), (attr.RESULT_HASH,)),
    "p8": ((attr.GENAI_INPUT_TOKENS,), (attr.PROMPT_SEGMENTS, attr.PROMPT_BLOCKS)),
    "p9": ((attr.PROMPT_BLOCKS,), (attr.POOL_ID,), (attr.GENAI_CACHED_TOKENS, attr.KV_HITS)),
    "p10": ((attr.GENAI_INPUT_TOKENS,), (attr.PROMPT_TOOLS,)),
    "p11": ((attr.RESULT_FIELDS, attr.RESULT_SIZE), (attr.FIELDS_READ, attr.RESULT_CAUSES)),
    "p12": ((attr.RESULT_HASH,), (attr.GENAI_OUTPUT_TOKENS,)),
    "p14": ((attr.TIMEOUT_S,), (attr.QUEUE_ENTER_NS,)),
    "p15": ((attr.RESULT_CAUSES,),),
    "p16": ((attr.RESULT_SIZE, attr.MESSAGING_BODY_SIZE, attr.GENAI_OUTPUT_TOKENS),),
    "p17": ((attr.QUEUE_ENTER_NS,), (attr.QUEUE_DEQUEUE_NS,), (attr.POOL_CAPACITY,)),
    "p19": ((attr.MODEL_QUEUE_S,), (attr.POOL_CAPACITY,)),
    "p20": ((attr.POOL_ACTIVE,),),
    "p21": ((attr.GENAI_FIRST_CHUNK, attr.EMIT_FIRST_NS),),
    "p25": ((attr.GROUP_NEEDED,), (attr.RESULT_HASH,)),
}


def missing(seen: Collection[str]) -> dict[str, tuple[Either, ...]]:
    """By pattern what it lacks where only these attributes are on record; patterns that lack nothing are left out."""
    found = {
        pattern: tuple(either for either in needs if not any(name in seen for name in either))
        for pattern, needs in NEEDS.items()
    }
    return {pattern: lacks for pattern, lacks in found.items() if lacks}

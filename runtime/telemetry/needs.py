"""Without which facts a detector says nothing: so that silence can be told from a system that wastes nothing."""

from collections.abc import Collection, Mapping
from typing import Final

from antiphon.runtime.telemetry import attributes as attr

Either = tuple[str, ...]  # one of these facts is enough

NEEDS: Final[Mapping[str, tuple[Either, ...]]] = {
    "p1": ((attr.OPERATION,),),
    "p2": ((attr.INPUT_HASH,),),
    "p3": ((attr.INPUT_HASH,), (attr.DETERMINISTIC, attr.EFFECT)),
    "p4": ((attr.INPUT_HASH,), (attr.RESULT_HASH,)),
    "p6": ((attr.INPUT_HASH,), (attr.RESULT_HASH,)),
    "p8": ((attr.GENAI_INPUT_TOKENS,), (attr.PROMPT_SEGMENTS, attr.PROMPT_BLOCKS)),
    "p9": (
        (attr.GENAI_INPUT_TOKENS,), (attr.PROMPT_BLOCKS,), (attr.POOL_ID,), (attr.GENAI_CACHED_TOKENS, attr.KV_HITS),
    ),
    "p10": (  # tools; or results, with what they and the handler's own are made of
        (attr.GENAI_INPUT_TOKENS,), (attr.PROMPT_TOOLS, attr.CAUSES), (attr.PROMPT_TOOLS, attr.RESULT_CAUSES),
        (attr.PROMPT_TOOLS, attr.RESULT_SIZE),
    ),
    "p11": (  # fields and which were read; or sizes and what a result is made of
        (attr.GENAI_OUTPUT_TOKENS,), (attr.RESULT_FIELDS, attr.RESULT_SIZE), (attr.RESULT_FIELDS, attr.RESULT_CAUSES),
        (attr.FIELDS_READ, attr.RESULT_SIZE), (attr.FIELDS_READ, attr.RESULT_CAUSES),
    ),
    "p12": ((attr.INPUT_HASH,), (attr.RESULT_HASH,), (attr.GENAI_INPUT_TOKENS,), (attr.GENAI_OUTPUT_TOKENS,)),
    "p14": ((attr.INPUT_HASH,),),
    "p15": (  # what nobody waited for; or causes, and results that would show in them
        (attr.RESULT_CONSUMED, attr.RESULT_CAUSES),
        (attr.RESULT_CONSUMED, attr.RESULT_SIZE, attr.FIELDS_READ, attr.GENAI_OUTPUT_TYPE),
    ),
    "p16": (  # of tools their effect; of others how busy those are that serve them
        (attr.RESULT_SIZE, attr.MESSAGING_BODY_SIZE, attr.GENAI_OUTPUT_TOKENS),
        (attr.EFFECT, attr.POOL_ACTIVE), (attr.EFFECT, attr.POOL_CAPACITY),
    ),
    "p17": (
        (attr.QUEUE_ENTER_NS,), (attr.QUEUE_DEQUEUE_NS,), (attr.POOL_ID,), (attr.POOL_CAPACITY,), (attr.POOL_ACTIVE,),
    ),
    "p19": ((attr.MODEL_QUEUE_S,), (attr.POOL_CAPACITY,)),
    "p20": (  # a tool that takes many; or how a model was served
        (attr.TOOL_BATCH, attr.POOL_ACTIVE), (attr.TOOL_BATCH, attr.MODEL_QUEUE_S),
        (attr.TOOL_BATCH, attr.POOL_CAPACITY, attr.GENAI_INPUT_TOKENS),
    ),
    "p21": (  # a model that streams; or a handler that shows something before its result
        (attr.CAUSES,), (attr.GENAI_FIRST_CHUNK, attr.EMIT_FIRST_NS), (attr.GENAI_FIRST_CHUNK, attr.EMIT_COUNT),
        (attr.GENAI_OUTPUT_TOKENS, attr.EMIT_FIRST_NS), (attr.GENAI_OUTPUT_TOKENS, attr.EMIT_COUNT),
    ),
    "p25": ((attr.GROUP,), (attr.GROUP_NEEDED,), (attr.RESULT_HASH,)),
}  # fmt: skip


def missing(seen: Collection[str]) -> dict[str, tuple[Either, ...]]:
    """By pattern what it lacks where only these attributes are on record; patterns that lack nothing are left out."""
    found = {
        pattern: tuple(either for either in needs if not any(name in seen for name in either))
        for pattern, needs in NEEDS.items()
    }
    return {pattern: lacks for pattern, lacks in found.items() if lacks}

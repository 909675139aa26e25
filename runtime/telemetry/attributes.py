"""Every attribute and span name we write, in one place, each with its source.

Sources: [messaging] OpenTelemetry semantic conventions v1.44.0, messaging (NATS is not a well-known system there;
``nats`` as nats.net writes it); [genai] GenAI conventions v1.41.0, the last frozen text; [otel] the specification's
mapping to formats other than OTLP; [ours] facts that only this runtime knows, under ``antiphon.``.
"""

from typing import Final

# [messaging]
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"  # send | receive | process | settle
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"  # publish | request | process | fetch | ack
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_TEMPLATE: Final = "messaging.destination.template"
MESSAGING_GROUP: Final = "messaging.consumer.group.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_CONVERSATION: Final = "messaging.message.conversation_id"  # the run
MESSAGING_BODY_SIZE: Final = "messaging.message.body.size"  # bytes
ERROR_TYPE: Final = "error.type"

# [genai]
GENAI_OPERATION: Final = "gen_ai.operation.name"  # chat | embeddings | execute_tool | invoke_agent
GENAI_PROVIDER: Final = "gen_ai.provider.name"
GENAI_REQUEST_MODEL: Final = "gen_ai.request.model"
GENAI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GENAI_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GENAI_TEMPERATURE: Final = "gen_ai.request.temperature"
GENAI_TOP_P: Final = "gen_ai.request.top_p"
GENAI_TOP_K: Final = "gen_ai.request.top_k"
GENAI_SEED: Final = "gen_ai.request.seed"
GENAI_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GENAI_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
GENAI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GENAI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GENAI_CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GENAI_OUTPUT_TYPE: Final = "gen_ai.output.type"  # text | json
GENAI_AGENT_NAME: Final = "gen_ai.agent.name"
GENAI_CONVERSATION: Final = "gen_ai.conversation.id"
GENAI_TOOL_NAME: Final = "gen_ai.tool.name"
GENAI_TOOL_TYPE: Final = "gen_ai.tool.type"
GENAI_INPUT_MESSAGES: Final = "gen_ai.input.messages"  # opt-in content, only when capture is on
GENAI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"  # opt-in content, only when capture is on

# [otel] on records whose values were cut or left out, and on spans of foreign instrumentation
SCOPE_NAME: Final = "otel.scope.name"
SERVICE_NAME: Final = "service.name"  # of the resource, on each span of a foreign program
DROPPED_ATTRIBUTES: Final = "otel.dropped_attributes_count"
DROPPED_EVENTS: Final = "otel.dropped_events_count"
DROPPED_LINKS: Final = "otel.dropped_links_count"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
EXCEPTION_ESCAPED: Final = "exception.escaped"

# [ours] limits
BUDGET_USED: Final = "antiphon.budget.used"  # on a refused operation: name:used:limit for each budget

# [ours] guards: an event on the span of the operation, or else of the handler
GUARD_EVENT: Final = "antiphon.guard"
GUARD: Final = "antiphon.guard.name"
GUARD_STAGE: Final = "antiphon.guard.stage"  # handler.input | … | tool.result
GUARD_ACTION: Final = "antiphon.guard.action"  # refused | rewritten | repeated
GUARD_REASON: Final = "antiphon.guard.reason"  # without what the guard has seen

# [ours] policies at work: events on the span of the operation
HEDGE_EVENT: Final = "antiphon.hedge"  # there was a second attempt
HEDGE_WON: Final = "antiphon.hedge.won"  # 1 | 2: which attempt gave the result; 0: both failed
RETRY_EVENT: Final = "antiphon.retry"  # an attempt failed, with error.type, and another follows
RETRY_WAIT_S: Final = "antiphon.retry.wait_s"
BATCH_SIZE: Final = "antiphon.batch.size"  # an attribute: so many calls were made into one, this one included

# [ours] identity
NODE: Final = "antiphon.node"
TENANT: Final = "antiphon.tenant"
RUN: Final = "antiphon.run"  # id shared by everything that one outside request caused
TASK: Final = "antiphon.task"
AGENT: Final = "antiphon.agent"
HANDLER: Final = "antiphon.handler"
ATTEMPT: Final = "antiphon.attempt"
PATH: Final = "antiphon.path"  # place of the operation in its handler: 3, 3.b.1
OPERATION: Final = "antiphon.operation"  # ask | call | submit | publish | model | tool | run | state
LABEL: Final = "antiphon.label."  # and the label's name, on what came from outside: labels go down with the run
OBS: Final = "antiphon.obs"  # true on the observability system's own spans

# [ours] evidence for detectors
CAUSES: Final = "antiphon.msg.causes"  # ids of the messages or operations whose content was used
CAUSES_INFERRED: Final = "antiphon.msg.causes_inferred"  # true where the runtime assumed the edge
QUEUE_ENTER_NS: Final = "antiphon.queue.enter_ns"  # unix ns, when the message was sent or stored
QUEUE_DEQUEUE_NS: Final = "antiphon.queue.dequeue_ns"  # unix ns, when a slot took it
QUEUE_DEPTH: Final = "antiphon.queue.depth"  # waiting here when it was taken
POOL_ID: Final = "antiphon.pool.id"  # the slots that served it: agent:NAME@NODE or model:NAME@NODE
POOL_CAPACITY: Final = "antiphon.pool.capacity"
POOL_ACTIVE: Final = "antiphon.pool.active"  # busy when it was taken, this one included
INPUT_HASH: Final = "antiphon.input.sha256"
RESULT_HASH: Final = "antiphon.result.sha256"
RESULT_CONSUMED: Final = "antiphon.result.consumed"  # false where nobody waited any more when it came
RESULT_CAUSES: Final = "antiphon.result.causes"  # on handlers: ids of the operations whose content the result has
RESULT_SIZE: Final = "antiphon.result.size"  # bytes
RESULT_FIELDS: Final = "antiphon.result.fields"  # of a typed reply, "name:bytes" each
FIELDS_READ: Final = "antiphon.fields_read"  # on handlers: "operation span id:name,name" for each typed reply it got
GROUP: Final = "antiphon.group"  # path of the gather or group that the operation is a branch of
GROUP_NEEDED: Final = "antiphon.group.needed"  # successes after which that group goes on
GROUP_WIDTH: Final = "antiphon.group.width"  # of ctx.each, whose steps are independent: how many ran at a time
GROUP_AT_LEAST: Final = "antiphon.group.at_least"  # successes that would do, where the code declares it
EFFECT: Final = "antiphon.effect"  # pure | read | write
TOOL_TTL_S: Final = "antiphon.tool.ttl_s"
TOOL_BATCH: Final = "antiphon.tool.batch"  # true where the tool declares that it takes many calls at once
PROMPT_BLOCKS: Final = "antiphon.prompt.block_hashes"  # rolling hashes, one per 256 tokens
PROMPT_SEGMENTS: Final = "antiphon.prompt.segments"  # "name:bytes:hash" in prompt order
PROMPT_TOOLS: Final = "antiphon.prompt.tools"  # tools that the model was offered, "name:bytes" each
KV_USED: Final = "antiphon.kv.blocks_used"
KV_TOTAL: Final = "antiphon.kv.blocks_total"
KV_HITS: Final = "antiphon.kv.hit_blocks"
COST_USD: Final = "antiphon.cost_usd"
EMIT_FIRST_NS: Final = "antiphon.emit.first_ns"  # on handlers: unix ns, when the first chunk was shown
EMIT_COUNT: Final = "antiphon.emit.count"
DETERMINISTIC: Final = "antiphon.deterministic"  # the same input gives the same result, declared or temperature 0
MODEL_QUEUE_S: Final = "antiphon.model.queue_s"
MODEL_PREFILL_S: Final = "antiphon.model.prefill_s"
MODEL_DECODE_S: Final = "antiphon.model.decode_s"
TIMEOUT_S: Final = "antiphon.timeout_s"  # what the caller allowed
PARKED_NS: Final = "antiphon.parked_ns"  # of a durable handler's time: how long it was parked, without slot and memory
RESULT_STATE: Final = "antiphon.state"  # terminal state of a durable task, on its process span
POLICY_ARM: Final = "antiphon.experiment.arm"  # "policy id=treated | control | shadow" for each
FINDING_ID: Final = "antiphon.finding.id"  # findings that those policies came from
ANSWERED_BY: Final = "antiphon.answered_by"  # the policy that gave an earlier or another's result: cache, single_flight
SHADOW_EQUAL: Final = "antiphon.shadow.equal"  # at level shadow: whether both ways gave the same result
SAMPLE_P: Final = "antiphon.sample.p"  # on roots, where fewer than all are kept: the probability, to weigh by
CLIPPED: Final = "antiphon.clipped"  # keys whose values were cut to size

# [ours] on links of spans that leave for other tools
LINK: Final = "antiphon.link"
CAUSE: Final = "cause"  # the linked operation's content was used

NATS: Final = "nats"
INVOKE_AGENT: Final = "invoke_agent"


def publish_name(template: str) -> str:
    """Span name of sending: ``publish {template}``. [messaging]"""
    return f"publish {template}"


def process_name(template: str) -> str:
    """Span name of handling: ``process {template}``. [messaging]"""
    return f"process {template}"


def model_name(operation: str, model: str) -> str:
    """Span name of a model call: ``{operation} {model}``, such as ``chat smollm2-135m``. [genai]"""
    return f"{operation} {model}"


def tool_name(tool: str) -> str:
    """Span name of a tool: ``execute_tool {tool}``. [genai]"""
    return f"execute_tool {tool}"


def agent_name(agent: str) -> str:
    """Span name of a handler's work in other tools: ``invoke_agent {agent}``. [genai]"""
    return f"{INVOKE_AGENT} {agent}"


def run_name(step: str) -> str:
    """Span name of ``ctx.run``: ``run {step}``. [ours]"""
    return f"run {step}"


def state_name(verb: str) -> str:
    """Span name of ``ctx.state``: ``state get``. [ours]"""
    return f"state {verb}"


# OpenTelemetry's span kinds, by the numbers that SpanRecord.kind carries
INTERNAL: Final = 0
CLIENT: Final = 2
PRODUCER: Final = 3
CONSUMER: Final = 4

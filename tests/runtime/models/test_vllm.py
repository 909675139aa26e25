"""vLLM's cache metrics: what they say, and what they prove of one call."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable

import pytest

from antiphon.runtime.models.openai import OpenAIModel
from antiphon.runtime.models.vllm import CacheReading, explained, read
from antiphon.runtime.testing import ManualClock
from antiphon.schemas.inference import Finish, FinishReason, GenerateRequest, Pages, Usage

PAGE = """# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{{engine="0",model_name="m"}} {queries}
vllm:prefix_cache_queries_created{{engine="0",model_name="m"}} 1.7604e+09
vllm:prefix_cache_hits_total{{engine="0",model_name="m"}} {hits}
vllm:prefix_cache_hits_total{{engine="0",model_name="other"}} 999999.0
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} 0.25
vllm:cache_config_info{{block_size="16",engine="0",num_gpu_blocks="400"}} 1.0
vllm:prefix_cache_hits_total{{engine="0",model_name="m"}} nonsense
"""


class FakeVllm:
    """Chat completions that say nothing of their cache, and counters that grow with them, as vLLM documents both."""

    def __init__(self) -> None:
        self.port = 0
        self.queries, self.hits = 5_000.0, 1_000.0
        self.others = 0.0  # tokens of somebody else's prompt, looked up meanwhile
        self.details: dict[str, int] | None = None
        self.has_metrics = True
        self.asked: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.asked.append(path)
        status, body = 200, PAGE.format(queries=self.queries, hits=self.hits)
        if path == "/metrics":
            status = 200 if self.has_metrics else 404
        else:
            self.queries += 320 + self.others
            self.hits += 256
            usage = {"prompt_tokens": 320, "completion_tokens": 1, "prompt_tokens_details": self.details}
            events = (
                {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]},
                {"choices": [], "usage": usage},
            )
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def vllm() -> AsyncGenerator[FakeVllm, None]:
    """A listening FakeVllm."""
    server = FakeVllm()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


async def finish_of(model: OpenAIModel, request: GenerateRequest) -> Finish:
    """The end of one reply."""
    chunks = [chunk async for chunk in model.generate(request)]
    assert isinstance(chunks[-1], Finish)
    return chunks[-1]


def test_a_page_is_read_by_model_and_other_lines_are_left_alone() -> None:
    """Counters of the model with their sum over engines, the usage, and the cache's size; nonsense is skipped."""
    found = read(PAGE.format(queries="320.0", hits="1.6e+02"), "m")

    assert found == CacheReading(queries=320.0, hits=160.0, usage=0.25, pages=400, page_tokens=16)
    assert read("# nothing\nprocess_cpu_seconds_total 1.0\n", "m") is None


@pytest.mark.parametrize(("queries", "cached"), [(320.0, 256), (321.0, None), (0.0, None)])
def test_only_a_call_that_was_alone_is_explained(queries: float, cached: int | None) -> None:
    """The counters belong to everybody: only where they grew by this prompt alone do they speak of it."""
    before = CacheReading(queries=100.0, hits=10.0, usage=None, pages=None, page_tokens=None)
    after = CacheReading(queries=100.0 + queries, hits=266.0, usage=0.5, pages=400, page_tokens=16)
    finish = Finish(reason=FinishReason.STOP, usage=Usage(input_tokens=320))

    found = explained(finish, before, after)

    assert found.usage.cached_tokens == cached
    assert found.pages == Pages(used=200, total=400, hits=None if cached is None else 16)


async def test_cached_tokens_come_from_the_counters_where_usage_is_silent(
    vllm: FakeVllm, ask: Callable[..., GenerateRequest]
) -> None:
    """The first silent reply makes the next call a measured one; then ten seconds are left alone."""
    clock = ManualClock()
    model = OpenAIModel(f"http://127.0.0.1:{vllm.port}/v1", "m", clock=clock)
    try:
        assert (await finish_of(model, ask())).usage.cached_tokens is None
        measured = await finish_of(model, ask())
        unmeasured = await finish_of(model, ask())
        clock.advance(10.0)
        vllm.others = 64.0
        shared = await finish_of(model, ask())
    finally:
        await model.close()

    assert measured.usage.cached_tokens == 256
    assert measured.pages == Pages(used=100, total=400, hits=16)
    assert (unmeasured.usage.cached_tokens, unmeasured.pages) == (None, None)
    assert shared.usage.cached_tokens is None, "somebody else was served meanwhile"
    assert vllm.asked.count("/metrics") == 4


async def test_a_server_that_says_it_itself_or_has_no_metrics_is_not_asked_again(
    vllm: FakeVllm, ask: Callable[..., GenerateRequest]
) -> None:
    """cached_tokens in the usage is believed; a 404 ends the looking and harms no call."""
    vllm.details = {"cached_tokens": 128}
    model = OpenAIModel(f"http://127.0.0.1:{vllm.port}/v1", "m", clock=ManualClock())
    try:
        assert [(await finish_of(model, ask())).usage.cached_tokens for _ in range(3)] == [128] * 3
        assert "/metrics" not in vllm.asked
        vllm.details, vllm.has_metrics = None, False
        assert [(await finish_of(model, ask())).usage.cached_tokens for _ in range(3)] == [None] * 3
        assert vllm.asked.count("/metrics") == 1
    finally:
        await model.close()

"""What the three programs share: a scripted OpenAI-compatible server, and spans written as OTLP in JSON.

Not run in CI. In a virtual environment of its own:

    pip install langgraph langchain-openai openinference-instrumentation-langchain 'pydantic-ai-slim[openai]'
        openai-agents openinference-instrumentation-openai-agents opentelemetry-sdk
        opentelemetry-exporter-otlp-proto-http
    python langgraph_program.py && python pydantic_ai_program.py && python openai_agents_program.py

Each program plans a trip: the model asks for three tools one after the other (the weather twice, with the same
arguments), then answers. A model call takes 40 ms, a tool 50 ms. The files hold no machine names and no paths.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

QUESTION = "Plan a weekend in Lisbon for two people."
SYSTEM = (
    "You plan short trips. Prefer trains to planes, and say what the weather will be like on every day of the trip."
)
ASKS = (
    ("get_weather", {"city": "Lisbon"}),
    ("find_hotels", {"city": "Lisbon", "guests": 2}),
    ("get_weather", {"city": "Lisbon"}),
)
ANSWER = "Take the train on Friday; it will be sunny, and the Alfama hotel has a room for two."
MODEL_S = 0.04
TOOL_S = 0.05


def weather(city: str) -> str:
    """What a slow weather service says."""
    time.sleep(TOOL_S)
    return f"In {city} it will be sunny, 24 degrees, with a light breeze from the sea."


def hotels(city: str, guests: int) -> str:
    """What a slow booking service says."""
    time.sleep(TOOL_S)
    return f"Hotel Alfama in {city} has one room for {guests} guests at 95 euros a night."


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Ask for the next tool that has no result yet, or answer."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(MODEL_S)
        done = sum(message["role"] == "tool" for message in asked["messages"])
        message: dict = {"role": "assistant", "content": ANSWER}
        if done < len(ASKS):
            name, arguments = ASKS[done]
            function = {"name": name, "arguments": json.dumps(arguments)}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": f"call_{done}", "type": "function", "function": function}],
            }
        prompt = len(json.dumps(asked["messages"])) // 4
        body = {
            "id": f"chatcmpl-{done}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": asked["model"],
            "choices": [
                {"index": 0, "message": message, "finish_reason": "tool_calls" if done < len(ASKS) else "stop"}
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": 20,
                "total_tokens": prompt + 20,
                "prompt_tokens_details": {"cached_tokens": 256 if done else 0},
            },
        }
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def server() -> Iterator[str]:
    """The base URL of the scripted server."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/v1"
    finally:
        listening.shutdown()


def provider(longest: int | None = None) -> tuple[TracerProvider, InMemorySpanExporter]:
    """A tracer provider that keeps its spans; values longer than ``longest`` are cut, by OpenTelemetry's own limit."""
    exporter = InMemorySpanExporter()
    limits = SpanLimits(max_attribute_length=longest)
    made = TracerProvider(resource=Resource({"service.name": "trip-planner"}), span_limits=limits)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made, exporter


def save(exporter: InMemorySpanExporter, name: str, url: str) -> None:
    """The kept spans as OTLP/JSON, ``name``.json beside this file.

    Left out: the server's address, and what OpenInference's CHAIN spans repeat of the calls inside them.
    """
    found = MessageToDict(encode_spans(exporter.get_finished_spans()), use_integers_for_enums=True)
    for resource in found["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):  # protobuf's JSON has base64, OTLP's has hexadecimal
                    if key in span:
                        span[key] = base64.b64decode(span[key]).hex()
                kind = next((a["value"] for a in span["attributes"] if a["key"] == "openinference.span.kind"), {})
                if kind.get("stringValue") == "CHAIN" and "parentSpanId" in span:
                    span["attributes"] = [
                        a for a in span["attributes"] if not a["key"].endswith((".value", ".content"))
                    ]
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).replace(url, "http://model.example/v1")
    port = url.rsplit(":", 1)[1].removesuffix("/v1")
    text = text.replace(f'"intValue":"{port}"', '"intValue":"8000"').replace("127.0.0.1", "model.example")
    Path(__file__).with_name(f"{name}.json").write_text(text + "\n")

"""Metrics as Prometheus reads them, the OpenAPI document, and whatever else a client may send."""

import asyncio
import re
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from antiphon.runtime.console import questions

TYPE = re.compile(r"# TYPE ([a-z_]+) (counter|gauge|histogram)")
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+-]+|\+Inf)')


def parsed(text: str) -> dict[str, dict[str, float]]:
    """By family; every line must be one of the format's three."""
    kinds: dict[str, str] = {}
    found: dict[str, dict[str, float]] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if match := TYPE.fullmatch(line):
            assert match[1] not in kinds
            kinds[match[1]] = match[2]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        family = re.sub("_(bucket|sum|count)$", "", sample[1]) if sample[1] not in kinds else sample[1]
        assert family in kinds
        found.setdefault(sample[1], {})[sample[2] or ""] = float(sample[3])
    return found


async def test_metrics_are_prometheus_text(console: Any, make: Any, put: Any) -> None:
    """Counters of work, a histogram whose buckets grow, queues, findings and the store, hostile names escaped."""
    evil = 'a"b\\c\nd'
    put(*make.run(), make.handle(20, None, f"{evil}.x", 1, 0.2))
    await asyncio.to_thread(console.store.flush_rollups)
    answer = await console.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = parsed(answer.text)
    writer = 'agent="writer",operation="process",model=""'
    assert found["antiphon_spans_total"][writer] == 1
    assert found["antiphon_tokens_total"]['agent="",model="m",kind="cached"'] == 40
    buckets = [value for key, value in found["antiphon_span_duration_seconds_bucket"].items() if key.startswith(writer)]
    assert buckets == sorted(buckets) and buckets[-1] == 1
    assert found["antiphon_span_duration_seconds_sum"][writer] == pytest.approx(4)
    assert found["antiphon_runs"]['status="ok"'] >= 1
    assert any('queue="' in key for key in found["antiphon_queue_depth"])
    assert found["antiphon_store_bytes"][""] > 0
    assert 'agent="a\\"b\\\\c\\nd"' in answer.text


async def test_questions_are_answered(console: Any, make: Any, put: Any) -> None:
    """SQL as JSON and CSV, what-if with a picture, two runs side by side; what cannot be answered says why."""
    put(*make.run())
    table = (
        await console.http.post("/api/sql", json={"query": "SELECT x'00ff' AS a, 1 << 60 AS b, '=1+1' AS c"})
    ).json()
    assert (table["columns"], table["rows"]) == (["a", "b", "c"], [["00ff", str(1 << 60), "=1+1"]])
    csv = await console.http.post("/api/sql", json={"query": "SELECT '=1+1' AS c", "format": "csv"})
    assert csv.text == "c\r\n'=1+1\r\n" and "attachment" in csv.headers["content-disposition"]
    assert "x-antiphon-truncated" not in csv.headers
    two = {"query": "SELECT 1 UNION SELECT 2", "format": "csv", "limit": 1}
    assert (await console.http.post("/api/sql", json=two)).headers["x-antiphon-truncated"] == "1"
    refused = await console.http.post("/api/sql", json={"query": "DROP TABLE spans"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (422, "Unanswerable")
    same = await console.get("/api/compare", left="r1", right="r1")
    assert same["left"] == same["right"] and same["rows"][0]["depth"] == 0
    asked = await console.http.post("/api/whatif", json={"run": "r1", "scale": ["model:nope=0.5"]})
    assert asked.status_code == 422 and "nope" in asked.json()["error"]["message"]
    nothing = await console.http.post("/api/whatif", json={"run": "r1"})
    assert nothing.status_code == 422 and "nothing would be different" in nothing.json()["error"]["message"]


async def test_a_question_has_a_bounded_time(studio: Any, make: Any, put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all that it reads, and for its turn behind others; both say what to do."""
    put(*make.run())
    monkeypatch.setattr(questions, "ANSWER_S", 0.0)
    async with studio.open() as console:
        late = await console.http.get("/api/compare", params={"left": "r1", "right": "r1"})
        assert late.status_code == 422 and "fewer runs" in late.json()["error"]["message"]
    monkeypatch.setattr(questions, "AT_ONCE", 0)
    monkeypatch.setattr(questions, "TURN_S", 0.01)
    async with studio.open() as console:
        for asked in (console.http.post("/api/sql", json={"query": "SELECT 1"}), console.http.get("/api/cohort")):
            busy = await asked
            assert busy.status_code == 429 and "try again" in busy.json()["error"]["message"]


async def test_runs_are_chosen_by_what_they_took(console: Any, make: Any, put: Any) -> None:
    """Duration, tokens, money and words of the title; bounds include."""
    cheap = make.handle(1, None, "writer.write", 0, 1, attributes={"antiphon.run": "cheap"})
    dear = make.chat(2, 1, 0)
    dear.trace_id = cheap.trace_id = b"\x02" * 16
    dear.attributes.update({"antiphon.run": "cheap", "antiphon.cost_usd": 0.25})
    put(*make.run(), cheap, dear)
    for query, expected in (
        ({"min_ms": 9_000}, ["r1"]),
        ({"max_ms": 1_000}, ["cheap"]),
        ({"min_usd": 0.25}, ["cheap"]),
        ({"max_usd": 0.2}, ["r1"]),
        ({"min_tokens": 108}, []),
        ({"max_tokens": 107, "text": "WRITER"}, ["cheap"]),
        ({"finding": "nope"}, []),
    ):
        assert [run["run"] for run in (await console.get("/api/runs", **query))["runs"]] == expected, query


async def test_the_document_names_every_route(console: Any) -> None:
    """And the page for people is plain text in a table: nothing to run, nothing from elsewhere."""
    document = await console.get("/api/openapi.json")
    assert document["paths"]["/api/runs"]["get"]["parameters"][0]["name"] == "limit"
    page = await console.http.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html") and "<script" not in page.text
    for path in document["paths"]:
        assert path.replace("&", "&amp;") in page.text


async def test_whatever_is_sent_the_console_stands(console: Any, make: Any, put: Any) -> None:
    """schemathesis, with what fits the document and what does not: no 5xx, no unexpected content type."""
    put(*make.run())
    raw = await console.get("/api/openapi.json")
    raw["paths"] = {path: item for path, item in raw["paths"].items() if not path.endswith("/events")}
    tried = await asyncio.to_thread(sweep, raw, console.address, console.http.headers["authorization"])
    assert tried > 100


def sweep(raw: dict[str, Any], address: str, authorization: str) -> int:
    """How many requests there were."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

        checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
        tried = 0
        for found in schemathesis.openapi.from_dict(raw).get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # an error has no such method, and so fails the test
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

                @seed(4)
                @settings(max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck))
                @given(operation.as_strategy(generation_mode=mode))
                def send(case: Any) -> None:
                    nonlocal tried
                    tried += 1
                    response = case.call(base_url=address, headers={"authorization": authorization}, timeout=300)
                    case.validate_response(response, checks=checks)

                send()
        return tried

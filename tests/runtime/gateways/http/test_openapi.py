import asyncio
import warnings
from typing import Any

import httpx
from hypothesis import HealthCheck, given, seed, settings

from antiphon import Agent, Client, Context
from antiphon.runtime.described import REMEMBER_S
from antiphon.runtime.gateways.http.openapi import document

TOKEN = {"authorization": "Bearer web-0123456789abcdef"}


def references(node: Any) -> set[str]:
    """Every $ref below."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own.union(*map(references, node.values()))


async def test_it_is_made_of_the_agents(client: Client) -> None:
    """A path to ask and one to submit for each handler, with its schemas; a keyed handler gives no reply to an ask."""
    found = document(await client.host.directory.agents())
    add = found["paths"]["/v1/agents/clerk/add"]["post"]
    assert add["summary"] == "clerk.add: Sum to Total"
    assert add["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/clerk.add.input"
    }
    assert found["components"]["schemas"]["clerk.add.input"]["required"] == ["numbers"]
    keyed = found["paths"]["/v1/agents/writer/remember"]["post"]["responses"]["200"]["content"]
    assert set(keyed) == {"text/event-stream"}
    assert "/v1/agents/writer/remember/tasks" in found["paths"]


async def test_references_lead_somewhere(client: Client) -> None:
    """Definitions inside messages, recursive ones too, move to where OpenAPI has them."""
    found = document(await client.host.directory.agents())
    named = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert "#/components/schemas/writer.outline.input.Chapter" in references(found)
    assert references(found) <= named


async def test_it_changes_with_the_agents(http: httpx.AsyncClient, cluster: Any, workshop: Any) -> None:
    """A handler that a new version has is there a second later."""

    async def paths() -> set[str]:
        return set((await http.get("/v1/openapi.json")).json()["paths"])

    assert "/v1/agents/late/again" not in await paths()
    late = Agent("late")
    types = workshop.system.agents[1].handlers["add"]

    @late.handles
    async def again(message: types.input, ctx: Context) -> types.output:  # type: ignore[name-defined]  # made in a test
        """Later."""
        raise AssertionError

    await cluster.client.host.directory.register(late.card())
    async with asyncio.timeout(REMEMBER_S + 3):
        while "/v1/agents/late/again" not in await paths():  # noqa: ASYNC110  # it is at the door
            await asyncio.sleep(0.05)


async def test_whatever_is_sent_the_door_stands(http: httpx.AsyncClient, address: str) -> None:
    """schemathesis, with bodies and parameters that fit the document and that do not: no 5xx, nothing undocumented."""
    raw = (await http.get("/v1/openapi.json")).json()
    raw["paths"] = {path: item for path, item in raw["paths"].items() if "/porter/" not in path}  # these mean trouble
    tried = await asyncio.to_thread(sweep, raw, address)
    assert tried > 100


def sweep(raw: dict[str, Any], address: str) -> int:
    """How many requests there were."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import (
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
            unsupported_method,
        )

        checks = [
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            unsupported_method,
        ]
        tried = 0
        for found in schemathesis.openapi.from_dict(raw).get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # an error has no such method, and so fails the test
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                strategy = operation.as_strategy(generation_mode=mode)

                @seed(4)
                @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
                @given(strategy)
                def send(case: Any) -> None:
                    nonlocal tried
                    tried += 1
                    response = case.call(base_url=address, headers=TOKEN, timeout=300)
                    case.validate_response(response, checks=checks)

                send()
        return tried

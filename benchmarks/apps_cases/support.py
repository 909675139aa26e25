"""Customer support with tools: episodes of tau-bench's airline domain, each turn a model call, tools as recorded.

The customer, the model's words and the tools' results are those of the recorded episodes; times are drawn. Attribution
and licence are in the README beside the file.
"""

import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plants.plant import Build
from plants.timed_model import TimedModel
from plants.world import World

from antiphon import Agent, Context, Message, System
from antiphon.runtime.tool import Tool
from antiphon.schemas.inference import GenerateRequest, Role, Turn, turn
from antiphon.schemas.policy import Cache, Level, Policy, Proposal
from apps_cases.app import Advice, App

EPISODES = Path(__file__).parents[2] / ".." / "shared" / "data" / "tau_airline.json.gz"
READS = (
    "get_user_details",
    "get_reservation_details",
    "search_direct_flight",
    "search_onestop_flight",
    "list_all_airports",
)
PURE = ("calculate", "think")
MODEL_TURNS = 6  # of an episode: the rest is more of the same


class Episode(Message, name="AppEpisode"):
    """A customer with a wish."""

    number: int


class Closed(Message, name="AppClosed"):
    """How it ended."""

    text: str


def build(world: World, advice: Advice = frozenset(), *, tuned: bool = False) -> Build:
    """The system, plain or tuned by hand."""
    episodes = [e["traj"] for e in json.loads(gzip.decompress(EPISODES.read_bytes())) if len(e["traj"]) > 6]
    results = _results(episodes)

    def make(name: str) -> Tool[..., Any]:
        async def call(arguments: dict[str, Any]) -> str:
            await asyncio.sleep(
                world.lasts_s(0.004 if name in PURE else 0.08, name, json.dumps(arguments, sort_keys=True))
            )
            return results.get((name, json.dumps(arguments, sort_keys=True)), "no such record")

        effect = "pure" if name in PURE else "read" if name in READS else "write"
        schema = {"type": "object", "properties": {}, "additionalProperties": True}
        ttl_s = 60.0 if effect == "read" else None
        return Tool.from_schema(name, f"{name} of the airline", schema, call, effect=effect, ttl_s=ttl_s)

    tools = {name: make(name) for name in sorted({name for name, _ in results})}
    desk = Agent("desk", model="agent", tools=list(tools.values()), slots=16 if tuned else 4)

    @desk.handles
    async def serve(episode: Episode, ctx: Context) -> Closed:
        """Talk with the customer until the recorded end, or for six turns of the model."""
        recorded = episodes[episode.number]
        history: list[Turn] = [turn(Role.SYSTEM, recorded[0]["content"])]
        said = ""
        turns = 0
        for message in recorded[1:]:
            if message["role"] == "user":
                history.append(turn(Role.USER, message["content"]))
            elif message["role"] == "assistant":
                said = await ctx.model.generate(str, history, max_tokens=48, temperature=0.0)
                history.append(turn(Role.ASSISTANT, said))
                for wish in message.get("tool_calls") or ():
                    name, arguments = wish["function"]["name"], json.loads(wish["function"]["arguments"])
                    found = await ctx.tool(tools[name], **arguments)
                    history.append(turn(Role.USER, f"{name}: {found}"))
                turns += 1
                if turns == MODEL_TURNS:
                    break
        return Closed(text=said)

    def reply(request: GenerateRequest) -> str:
        return " ".join(request.conversation[-1].text.split()[:20])

    def score(number: int, result: Message) -> float:
        return float(isinstance(result, Closed) and bool(result.text))

    by_hand = [
        Policy(id=f"hand-{name}", proposal=Proposal(action=Cache(ttl_s=60), target=f"tool {name}"), level=Level.ON)
        for name in READS[:4]
    ]
    return Build(
        system=System("support", agents=[desk]),
        request=lambda n: (serve, Episode(number=world.rng("episode", n).randrange(len(episodes)))),
        rate_per_s=3.0,
        models={"agent": TimedModel("agent", reply, slots=8, prefill_s=0.00003, decode_s=0.0025)},
        policies=by_hand if tuned else (),
        score=score,
    )


def _results(episodes: Sequence[Sequence[Mapping[str, Any]]]) -> dict[tuple[str, str], str]:
    """What each call gave when it was first made, by name and arguments."""
    found: dict[tuple[str, str], str] = {}
    for episode in episodes:
        asked: dict[str, tuple[str, str]] = {}
        for message in episode:
            for wish in message.get("tool_calls") or ():
                arguments = json.dumps(json.loads(wish["function"]["arguments"]), sort_keys=True)
                asked[wish["id"]] = wish["function"]["name"], arguments
                found.setdefault(asked[wish["id"]], "done")
            if message["role"] == "tool" and message.get("tool_call_id") in asked:
                key = asked[message["tool_call_id"]]
                if found[key] == "done":
                    found[key] = str(message["content"])[:2_000]
    return found


APP = App(name="support", plain=build, tuned=lambda world: build(world, tuned=True), follows=frozenset())

"""A supervisor drafts, five reviewers vote, and what the majority rejects is written once more."""

import asyncio

from plants.plant import Build
from plants.timed_model import TimedModel
from plants.world import World

from antiphon import Agent, Context, Message, System, tool
from antiphon.schemas.inference import GenerateRequest
from apps_cases.app import Advice, App

REVIEWERS = 5


class Brief(Message, name="AppBrief"):
    """What is to be written."""

    number: int


class Draft(Message, name="AppDraft"):
    """A text for a reviewer."""

    text: str
    reviewer: int
    gist: str = ""


class Vote(Message, name="AppVote"):
    """What a reviewer says."""

    accepted: bool


class Paper(Message, name="AppPaper"):
    """What came of it."""

    text: str


def build(world: World, advice: Advice = frozenset(), *, tuned: bool = False) -> Build:
    """The system, plain, with advice followed, or tuned by hand."""
    early = tuned or "p25" in advice

    @tool(effect="read")
    async def check_facts(text: str, reviewer: int) -> str:
        """A slow look into the archive, by one reviewer's own rules."""
        await asyncio.sleep(world.lasts_s(0.15, "check", text, reviewer, spread=0.7))
        return f"facts of {text[:12]} by {reviewer}: {world.rng('check', text, reviewer).randrange(10**15):015d}"

    reviewer = Agent("reviewer", model="judge", tools=[check_facts], slots=32 if tuned else 6)
    supervisor = Agent("supervisor", model="judge", slots=32)

    @reviewer.handles
    async def review(draft: Draft, ctx: Context) -> Vote:
        """Condense the draft, check facts, vote."""
        gist = draft.gist or await ctx.model.generate(str, f"Condense: {draft.text}", max_tokens=24, temperature=0.0)
        await ctx.tool(check_facts, gist, draft.reviewer)
        good = world.rng("quality", draft.text).random() < 0.85
        agrees = world.rng("vote", draft.text, draft.reviewer).random() < 0.97
        return Vote(accepted=good == agrees)

    async def accepted(text: str, ctx: Context) -> bool:
        gist = await ctx.model.generate(str, f"Condense: {text}", max_tokens=24, temperature=0.0) if tuned else ""
        needed = REVIEWERS // 2 + 1
        asks = [ctx.ask(review, Draft(text=text, reviewer=n, gist=gist)) for n in range(REVIEWERS)]
        votes: list[Vote]
        if early:
            async with ctx.group(quorum=needed) as group:
                for ask in asks:
                    group.start(ask)
            votes = group.values
        else:
            votes = await ctx.gather(*asks)
        return sum(vote.accepted for vote in votes) * 2 > len(votes)

    @supervisor.handles
    async def write(brief: Brief, ctx: Context) -> Paper:
        """Draft, have it voted on, write once more if it is rejected."""
        text = await ctx.model.generate(str, f"Write about topic {brief.number}", max_tokens=48)
        if not await accepted(text, ctx):
            text = await ctx.model.generate(str, f"Write better: {text}", max_tokens=48)
        return Paper(text=text)

    def reply(request: GenerateRequest) -> str:
        asked = request.conversation[-1].text
        rng = world.rng("says", asked)
        words = 12 if asked.startswith("Condense") else 30
        return " ".join(f"{rng.randrange(10**6):06d}" for _ in range(words))

    def score(number: int, result: Message) -> float:
        return float(isinstance(result, Paper) and world.rng("quality", result.text).random() < 0.85)

    return Build(
        system=System("reviewers", agents=[supervisor, reviewer]),
        request=lambda n: (write, Brief(number=n)),
        rate_per_s=4.0,
        models={"judge": TimedModel("judge", reply, slots=10, decode_s=0.003)},
        score=score,
    )


APP = App(name="reviewers", plain=build, tuned=lambda world: build(world, tuned=True), follows=frozenset({"p25"}))

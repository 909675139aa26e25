"""Answers about the documentation: search words by a model, two searches, four passages, an answer by a model."""

import asyncio
import re
from pathlib import Path

from plants.plant import Build
from plants.timed_model import TimedModel
from plants.world import World

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.agent import Handler
from antiphon.schemas.inference import GenerateRequest
from antiphon.schemas.policy import Cache, Level, Policy, Proposal
from apps_cases.app import Advice, App

DOCS = Path(__file__).parents[2] / "docs"
ASKED = 40  # sections that people ask about, the first ones most often
WORD = re.compile(r"[a-z]{4,}")


class Question(Message, name="AppQuestion"):
    """What somebody asks."""

    text: str


class Answer(Message, name="AppAnswer"):
    """What they are told, and where it stands."""

    text: str


def sections() -> dict[str, str]:
    """The documentation by ``page#heading``."""
    found = {}
    for page in sorted(DOCS.glob("*.md")):
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
            heading, _, text = part.partition("\n")
            found[f"docs/{page.stem}#{heading.strip()}"] = text.strip()
    return found


def build(world: World, advice: Advice = frozenset(), *, tuned: bool = False) -> Build:
    """The system, plain, with advice followed, or tuned by hand."""
    library = sections()
    words = {name: set(WORD.findall(f"{name} {text}".lower())) for name, text in library.items()}
    asked = sorted(library, key=lambda name: world.rng("asked", name).random())[:ASKED]
    together = tuned or "p1" in advice

    @tool(effect="read", ttl="10m")
    async def search_text(terms: str) -> list[str]:
        """Sections whose text has these words, the best three."""
        await asyncio.sleep(world.lasts_s(0.09, "search_text", terms))
        wanted = set(WORD.findall(terms.lower()))
        return sorted(library, key=lambda name: (-len(wanted & words[name]), name))[:3]

    @tool(effect="read", ttl="10m")
    async def search_titles(terms: str) -> list[str]:
        """Sections whose heading has these words, the best two."""
        await asyncio.sleep(world.lasts_s(0.07, "search_titles", terms))
        wanted = set(WORD.findall(terms.lower()))
        return sorted(library, key=lambda name: (-len(wanted & set(WORD.findall(name.lower()))), name))[:2]

    @tool(effect="read", ttl="10m")
    async def read_section(name: str) -> str:
        """The text of a section."""
        await asyncio.sleep(world.lasts_s(0.05, "read_section", name))
        return f"[{name}]\n{library[name][:1_200]}"

    helper = Agent("helper", model="writer", tools=[search_text, search_titles, read_section], slots=24)

    @helper.handles
    async def answer(question: Question, ctx: Context) -> Answer:
        """Find passages and answer from them."""
        terms = await ctx.model.generate(
            str, question.text, system="Give search words for the question.", max_tokens=24, temperature=0.0
        )
        if together:
            by_text, by_title = await ctx.gather(ctx.tool(search_text, terms), ctx.tool(search_titles, terms))
        else:
            by_text = await ctx.tool(search_text, terms)
            by_title = await ctx.tool(search_titles, terms)
        names = list(dict.fromkeys([*by_title, *by_text]))[:4]
        if together:
            passages = await ctx.gather(*(ctx.tool(read_section, name) for name in names))
        else:
            passages = [await ctx.tool(read_section, name) for name in names]
        said = await ctx.model.generate(
            str,
            "\n\n".join([*passages, f"Question: {question.text}"]),
            system="Answer from the passages and name the section.",
            max_tokens=40,
            temperature=0.0,
        )
        return Answer(text=said)

    def reply(request: GenerateRequest) -> str:
        text = request.conversation[-1].text
        if "passages" in request.conversation[0].text:
            wanted = set(WORD.findall(text.rpartition("Question: ")[2].lower()))
            named = re.findall(r"^\[(.+)\]$", text, re.M)
            best = max(named, key=lambda name: (len(wanted & set(WORD.findall(name.lower()))), name))
            return f"See {best}. " + " ".join(library[best].split()[:24])
        return " ".join(sorted(set(WORD.findall(text.lower())))[:12])

    def wanted(number: int) -> str:
        return asked[min(int(world.rng("question", number).paretovariate(0.9)) - 1, ASKED - 1)]

    def request(number: int) -> tuple[Handler[Question, Answer], Question]:
        page, _, heading = wanted(number).removeprefix("docs/").partition("#")
        return answer, Question(text=f"What do I need to know about {heading} in {page}?")

    def score(number: int, result: Message) -> float:
        return float(isinstance(result, Answer) and wanted(number) in result.text)

    by_hand = [
        Policy(id=f"hand-{name}", proposal=Proposal(action=Cache(ttl_s=600), target=f"tool {name}"), level=Level.ON)
        for name in ("search_text", "search_titles", "read_section")
    ] + [Policy(id="hand-terms", proposal=Proposal(action=Cache(ttl_s=600), target="model writer"), level=Level.ON)]
    return Build(
        system=System("retrieval", agents=[helper]),
        request=request,
        rate_per_s=5.0,
        models={"writer": TimedModel("writer", reply, slots=12)},
        policies=by_hand if tuned else (),
        score=score,
    )


APP = App(name="retrieval", plain=build, tuned=lambda world: build(world, tuned=True), follows=frozenset({"p1"}))

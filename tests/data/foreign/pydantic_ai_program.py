"""A pydantic-ai agent with its own OpenTelemetry spans (GenAI conventions). See scripted.py."""

from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from scripted import QUESTION, SYSTEM, hotels, provider, save, server, weather

tracers, exporter = provider()
with server() as url:
    agent = Agent(
        OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url=url, api_key="none")),
        name="planner",
        instructions=SYSTEM,
        model_settings={"temperature": 0.0},
        capabilities=[Instrumentation(settings=InstrumentationSettings(tracer_provider=tracers))],
    )

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return weather(city)

    @agent.tool_plain
    def find_hotels(city: str, guests: int) -> str:
        """Hotels in a city with room for so many guests."""
        return hotels(city, guests)

    print(agent.run_sync(QUESTION).output)
    save(exporter, "pydantic_ai", url)

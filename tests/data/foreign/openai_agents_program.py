"""An openai-agents agent, traced by OpenInference's instrumentation of it. See scripted.py."""

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool
from openai import AsyncOpenAI
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from scripted import QUESTION, SYSTEM, hotels, provider, save, server, weather


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return weather(city)


@function_tool
def find_hotels(city: str, guests: int) -> str:
    """Hotels in a city with room for so many guests."""
    return hotels(city, guests)


tracers, exporter = provider()
OpenAIAgentsInstrumentor().instrument(tracer_provider=tracers)
with server() as url:
    client = AsyncOpenAI(base_url=url, api_key="none")
    agent = Agent(
        name="planner",
        instructions=SYSTEM,
        model=OpenAIChatCompletionsModel("gpt-4o-mini", client),
        model_settings=ModelSettings(temperature=0),
        tools=[get_weather, find_hotels],
    )
    print(Runner.run_sync(agent, QUESTION).final_output)
    save(exporter, "openai_agents", url)

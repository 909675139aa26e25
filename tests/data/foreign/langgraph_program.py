"""A LangGraph agent, traced by OpenInference's LangChain instrumentation. See scripted.py."""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from openinference.instrumentation.langchain import LangChainInstrumentor
from scripted import QUESTION, SYSTEM, hotels, provider, save, server, weather


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return weather(city)


@tool
def find_hotels(city: str, guests: int) -> str:
    """Hotels in a city with room for so many guests."""
    return hotels(city, guests)


tracers, exporter = provider(longest=720)
LangChainInstrumentor().instrument(tracer_provider=tracers)
with server() as url:
    model = ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key="none", temperature=0)
    agent = create_react_agent(model, [get_weather, find_hotels], prompt=SYSTEM, name="planner")
    print(agent.invoke({"messages": [("user", QUESTION)]})["messages"][-1].content)
    save(exporter, "langgraph", url)

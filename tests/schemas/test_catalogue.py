"""The catalogue: which type a name and version mean, and the JSON schema of all."""

import json

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.catalogue import BUILT_IN, Catalogue


class Question(Message):
    """One."""

    text: str


class Other(Message, name="Question"):
    """Another, of the same name."""

    n: int


class Newer(Message, name="Question", version=2):
    """The next version."""

    text: str


def test_a_type_is_found_by_name_and_version() -> None:
    """Adding it twice changes nothing; versions are told apart."""
    found = Catalogue([Question, Newer, Question])
    assert found.find("Question", 1) is Question
    assert found.find("Question", 2) is Newer
    assert found.find("Question", 3) is None
    assert found.versions("Question") == (1, 2)


def test_two_types_of_one_identity_are_a_conflict() -> None:
    """The message names both classes and the way out."""
    with pytest.raises(ValueError, match=r"Question version 1 is both .*Question and .*Other: give one of them name="):
        Catalogue([Question, Other])


def test_a_system_finds_the_conflict_when_it_is_made() -> None:
    """Not when the first message arrives."""
    agent = Agent("a")

    @agent.handles
    async def one(message: Question, ctx: Context) -> Question:
        return message

    @agent.handles
    async def two(message: Other, ctx: Context) -> Other:
        return message

    with pytest.raises(ConfigurationError, match="system 's': message Question version 1"):
        System("s", agents=[agent])


def test_every_built_in_type_exports_json_schema() -> None:
    """Complete, valid JSON, and each describes its own message."""
    exported = json.loads(json.dumps(Catalogue().json_schemas()))
    assert {f"{found.message_name}@{found.message_version}" for found in BUILT_IN} | {"TelemetryBatch@1"} == set(
        exported
    )
    for name, schema in exported.items():
        assert schema["type"] == "object", name
        assert schema["title"] == name.partition("@")[0]


def test_every_message_type_of_the_wire_is_in_the_catalogue() -> None:
    """A message of ``schemas`` that nobody registered would be missing from ``antiphon schemas``."""
    import antiphon.schemas as package

    ours = {found for found in _below(Message) if found.__module__.startswith(f"{package.__name__}.")}
    assert ours == set(BUILT_IN)


def _below(root: type[Message]) -> set[type[Message]]:
    return {found for child in root.__subclasses__() for found in (child, *_below(child))}

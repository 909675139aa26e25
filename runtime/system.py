"""A set of agents that are started together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from antiphon.runtime.agent import Agent
from antiphon.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from antiphon.schemas.catalogue import Catalogue
    from antiphon.schemas.policy import Policy


@dataclass(frozen=True, slots=True)
class System:
    """Agents under one name; what ``antiphon run module:system`` starts on a node.

    ``models`` gives model settings by name, as in the settings file; the settings file wins where both name one.
    ``policies`` are in force on the nodes of this system; a stored one of the same id wins.

    Raises:
        ConfigurationError: no agents, two of one name, two message types with one wire identity, or policies that
            cannot be, or that contradict each other.
        UnknownAgent, UnknownHandler: a policy is about what the system does not have.
    """

    name: str
    agents: Sequence[Agent]
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    policies: "Sequence[Policy]" = ()

    def __post_init__(self) -> None:
        if not self.agents:
            raise ConfigurationError(f"system {self.name!r} has no agents")
        names = [agent.name for agent in self.agents]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(f"system {self.name!r} has two agents called {twice[0]!r}: rename one")
        self.catalogue()
        if self.policies:
            from antiphon.runtime.policies.targets import check_given

            check_given(self.policies, [agent.card() for agent in self.agents])

    def catalogue(self) -> "Catalogue":
        """The message types of the agents' handlers and events."""
        from antiphon.schemas.catalogue import Catalogue

        found = Catalogue(())
        try:
            for agent in self.agents:
                for handler in agent.handlers.values():
                    found.add(handler.input)
                    found.add(handler.output)
                for subscriber in agent.subscribers.values():
                    found.add(subscriber.input)
        except ValueError as error:
            raise ConfigurationError(f"system {self.name!r}: {error}") from None
        return found

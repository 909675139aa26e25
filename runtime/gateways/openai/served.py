"""The models of a gateway."""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.runtime.errors import UnknownModel
from antiphon.runtime.models.base import ModelInstance
from antiphon.schemas.openai import ModelCard, ModelList, model_card


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model by the name that callers give it; ``context_tokens`` is None where nobody has said."""

    name: str
    instance: ModelInstance
    context_tokens: int | None = None


class ServedModels:
    """All of them; ``since_s`` (seconds since the epoch) is when they came to be served."""

    def __init__(self, models: Sequence[ServedModel], *, since_s: int) -> None:
        self._models = {model.name: model for model in models}
        self._since_s = since_s

    def find(self, name: str) -> ModelInstance:
        """The instance of that name. Raises UnknownModel."""
        return self._find(name).instance

    def card(self, name: str) -> ModelCard:
        """What is said of one. Raises UnknownModel."""
        model = self._find(name)
        return model_card(name, created=self._since_s, context_tokens=model.context_tokens)

    def cards(self) -> ModelList:
        """What is said of all."""
        return ModelList(object="list", data=[self.card(name) for name in self._models])

    def _find(self, name: str) -> ServedModel:
        found = self._models.get(name)
        if found is None:
            raise UnknownModel(f"no model {name[:80]!r}: expected one of {', '.join(self._models)}", param="model")
        return found

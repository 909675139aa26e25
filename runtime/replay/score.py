"""A score from what a caller says, or the reason why it can be none."""

from pydantic import ValidationError

from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.identity import InvalidName, check_task
from antiphon.schemas.score import Score


def score_of(task: str, name: str, value: float, comment: str, unix_ms: int) -> Score:
    """The score. Raises ConfigurationError, naming the part that cannot be."""
    try:
        return Score(task=check_task(task), name=name, value=value, comment=comment, unix_ms=unix_ms)
    except InvalidName as error:
        raise ConfigurationError(str(error)) from None
    except ValidationError as error:
        raise ConfigurationError(f"the score cannot be: {problems(error)}") from None

import pytest
from pydantic import ValidationError

from antiphon.schemas.inference import GenerateRequest, Role, ToolSpec, turn

SAID = (turn(Role.USER, "hi"),)
TOOL = ToolSpec(name="f", description="", parameters={})


def test_a_prompt_stands_in_the_place_of_a_conversation() -> None:
    """As text or as token ids, and it comes back from JSON as it was."""
    for prompt in ("once", (0, 5)):
        request = GenerateRequest(model="m", prompt=prompt)
        assert GenerateRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "expected a conversation of one turn at least, or a prompt"),
        ({"conversation": SAID, "prompt": "x"}, "not both"),
        ({"prompt": ""}, "at least 1 character"),
        ({"prompt": ()}, "at least 1 item"),
        ({"prompt": (-1,)}, "greater than or equal to 0"),
        ({"prompt": "x", "tools": (TOOL,)}, "a prompt takes no tools"),
        ({"conversation": SAID, "must_call": True}, "must_call without tools"),
    ],
)
def test_requests_that_cannot_be(given: dict[str, object], why: str) -> None:
    """The message says what to do."""
    with pytest.raises(ValidationError, match=why):
        GenerateRequest.model_validate({"model": "m", **given})

"""HTTP refusals: whatever the body, the status decides and the server's words are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.errors import ContextTooLong, ModelError, ModelUnavailable
from antiphon.runtime.models.refusal import refusal


@given(status=st.integers(201, 599), text=st.text(), retry_after=st.text())
def test_any_refusal_is_a_model_error(status: int, text: str, retry_after: str) -> None:
    """No body and no header can break the mapping, and only a clean number of seconds is passed on."""
    error = refusal(status, text, where="http://h/v1", model="m", retry_after=retry_after)
    assert isinstance(error, ModelError)
    assert float(error.details.get("retry_after_s", "0")) >= 0
    if status >= 500:
        assert isinstance(error, ModelUnavailable)


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "This model\'s maximum context length is 64 tokens", "code": "x"}}',
        '{"error": {"message": "no", "code": "context_length_exceeded"}}',
        '{"error": {"message": "exceeds the available context size", "type": "exceed_context_size_error"}}',
        '{"message": "prompt is too long: 70 tokens"}',
        '[{"error": {"message": "context window of 64 tokens"}}]',
    ],
)
def test_servers_say_context_too_long_in_many_ways(body: str) -> None:
    """OpenAI, vLLM, llama.cpp and others are all understood."""
    assert isinstance(refusal(400, body, where="http://h/v1", model="m"), ContextTooLong)

"""The page of the gateway names every path, field and status there is."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from antiphon.runtime import errors
from antiphon.runtime.gateways.openai.generation import CHAT_TOKENS
from antiphon.runtime.gateways.openai.refusals import status_of
from antiphon.runtime.gateways.openai.requests import TEXT_TOKENS, ChatRequest, CompletionRequest, EmbeddingRequest
from antiphon.runtime.settings import load_settings

Page = Callable[[str], str]
NEITHER = {"user", "model"}  # of which there is nothing to say


def test_every_field_is_named(page: Page) -> None:
    """Those that are read, and those that are refused."""
    text = page("docs/openai.md")
    for kind in (ChatRequest, CompletionRequest, EmbeddingRequest):
        for field in kind.model_fields.keys() - NEITHER:
            assert re.search(rf"`{field}\b", text), f"docs/openai.md: {kind.__name__}.{field}"
    assert f"{CHAT_TOKENS:,} tokens and a completion's {TEXT_TOKENS} " in text


def test_every_status_has_a_row(page: Page) -> None:
    """Of the errors that a model or a body can bring about."""
    rows = set(re.findall(r"^\| (\d{3}) \|", page("docs/openai.md"), re.M))
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ModelError)]
    assert {str(status_of(kind("x"))) for kind in (*kinds, errors.DeadlineExceeded)} <= rows


def test_its_settings_are_accepted(page: Page, tmp_path: Path) -> None:
    """The file that the page shows can be loaded."""
    block = re.search(r"```toml\n(.*?)```", page("docs/openai.md"), re.S)
    assert block is not None
    (tmp_path / "antiphon.toml").write_text(block[1])
    settings = load_settings({"ANTIPHON_HOME": str(tmp_path)}, tmp_path)
    assert set(settings.http_tokens) == {"acme", "globex"}

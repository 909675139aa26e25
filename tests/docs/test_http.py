"""The page of the HTTP door shows what is tested, and names every status and event there is."""

import re
from collections.abc import Callable
from pathlib import Path

from antiphon.runtime.gateways.http.openapi import document
from antiphon.runtime.settings import load_settings
from antiphon.schemas.task import Gap, Progress, Restarted, Token

Page = Callable[[str], str]


def test_the_web_page_is_the_example(page: Page) -> None:
    """Character by character, and no longer than it says."""
    shown = re.search(r"<!-- begin (\S+) -->\n```html\n(.*?)```\n<!-- end \1 -->", page("docs/http.md"), re.S)
    assert shown is not None
    assert shown[2] == page(shown[1])
    assert len(shown[2].splitlines()) <= 20


def test_every_path_status_and_event_is_described(page: Page) -> None:
    """In the tables."""
    text = page("docs/http.md")
    found = document([])["paths"]
    for path, methods in found.items():
        assert path.replace("/{model}", "") in text, path
        for operation in (methods[name] for name in ("get", "post", "delete") if name in methods):
            for status in operation["responses"]:
                assert re.search(rf"\b{status}\b", text), (path, status)
    for event in (Token, Progress, Restarted, Gap):
        assert f"\n| `{event.model_fields['kind'].default}` | " in text


def test_its_settings_are_accepted(page: Page, tmp_path: Path) -> None:
    """The file that the page shows can be loaded."""
    block = re.search(r"```toml\n(.*?)```", page("docs/http.md"), re.S)
    assert block is not None
    (tmp_path / "antiphon.toml").write_text(block[1])
    settings = load_settings({"ANTIPHON_HOME": str(tmp_path)}, tmp_path)
    assert set(settings.http_tokens) == {"website", "nightly"}
    assert settings.http_origins == ("https://app.example.org",)

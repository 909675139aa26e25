from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from antiphon.runtime.console import pages


async def test_the_built_files_are_served(client: httpx.AsyncClient) -> None:
    """Under their own names, with their types; only those that are there."""
    page = await client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (await client.get("/icon.svg")).headers["content-type"] == "image/svg+xml"
    script = page.text.split('src="')[1].split('"')[0]
    assert (await client.get(script)).headers["content-type"].startswith("text/javascript")
    assert (await client.get("/index.html")).status_code == 404
    assert (await client.get("/../pyproject.toml")).status_code == 404


async def test_they_are_compressed_for_whoever_takes_that(client: httpx.AsyncClient) -> None:
    """A slow link carries a third; others get the same in full."""
    packed = await client.get("/", headers={"accept-encoding": "gzip"})
    plain = await client.get("/", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text


async def test_without_a_build_the_page_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout before ``make setup``."""

    def empty(package: str) -> Any:
        return tmp_path

    monkeypatch.setattr(pages, "files", empty)
    assert [route.path for route in pages.page_routes()] == ["/"]
    transport = httpx.ASGITransport(app=Starlette(routes=pages.page_routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7000") as browser:
        answer = await browser.get("/")
    assert answer.status_code == 503
    assert "make setup" in answer.text

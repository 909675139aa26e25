"""The README's agents with the real small model, from the command line."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

NEWSROOM = Path(__file__).parents[2] / "examples" / "newsroom.py"


def test_the_newsroom_answers_a_question(place: "Place", models_home: Path) -> None:
    """A writer and a critic on one node think with the local engine; the answer is a valid Draft."""
    place.home.mkdir()
    (place.home / "models").symlink_to(models_home)
    place.node(target=f"{NEWSROOM}:system")
    question = '{"text": "Why is the sky blue?"}'
    done = place.command("submit", "writer.write", question, "--wait", "--timeout", "240", timeout_s=300)
    assert done.returncode == 0, done.stderr
    draft = json.loads(done.stdout.splitlines()[-1])
    assert set(draft) == {"text"}
    assert draft["text"].strip()

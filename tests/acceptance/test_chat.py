"""The chat of the examples with the real small model, from the command line."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

CHAT = Path(__file__).parents[2] / "examples" / "chat.py"


def test_the_second_prompt_has_the_first_turn(place: "Place", models_home: Path) -> None:
    """Two lines in the terminal: answers stream, and what was said first is in what the model is asked then."""
    place.home.mkdir()
    (place.home / "models").symlink_to(models_home)
    place.node(target=f"{CHAT}:system")
    lines = "My name is Ada.\nWhat is my name?\n"
    done = place.command("chat", "friend.say", "--session", "ada", "--json", stdin=lines, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(event) for event in done.stdout.splitlines()]
    first, second = (event for event in events if event["kind"] == "done")
    shown = "".join(event["text"] for event in events if event["kind"] == "token")
    assert shown == first["value"]["text"] + second["value"]["text"]

    journal = json.loads(place.command("journal", second["task"], "--json").stdout)
    (call,) = [entry for entry in journal["entries"] if entry["operation"] == "model"]
    prompt = [call["blocks"][name] for name in call["conversation"]]
    assert [(turn["role"], turn["parts"][0]["text"]) for turn in prompt[1:]] == [
        ("user", "My name is Ada."),
        ("assistant", first["value"]["text"]),
        ("user", "What is my name?"),
    ]

"""The small text files of a checkpoint, read within bounds: they came with a download."""

import json
from pathlib import Path
from typing import Any

from antiphon.runtime.errors import ModelFileError

REMEDY = "the file is damaged or incomplete: pull or copy it again"
TEXT_MOST = 2**27  # bytes; the largest tokenizer.json in use has 35 million
_JSON_MOST = 2**25  # bytes of JSON that becomes Python objects, some 20 times as large; the largest index has 9 million


def read_text(path: Path, most: int = TEXT_MOST) -> str:
    """The UTF-8 text in a file of at most ``most`` bytes.

    Raises:
        ModelFileError: missing, no file, too large, or not UTF-8.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError("no such file")
        if path.stat().st_size > most:
            raise ValueError(f"found {path.stat().st_size} bytes, expected {most} at most")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error}); pull or copy it again") from error


def read_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """The JSON object in a file; an empty one where a file that is not ``required`` is missing.

    Raises:
        ModelFileError: missing, unreadable or something else.
    """
    if not required and not path.exists():
        return {}
    text = read_text(path, _JSON_MOST)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error}); pull or copy it again") from error
    if not isinstance(raw, dict):
        raise ModelFileError(f"{path}: found {type(raw).__name__}, expected a JSON object; pull or copy it again")
    return raw

"""Files that were a store and cannot be read: kept under another name, beside the one that took their place."""

import re
from pathlib import Path

_KEPT = re.compile(r"\.corrupt-(\d{1,19})")
_BESIDE = ("-wal", "-shm")


def set_aside(path: Path, unix_ms: int) -> Path:
    """Give the file, and what SQLite keeps beside it, a name that says when; the name."""
    kept = path.with_name(f"{path.name}.corrupt-{unix_ms}")
    path.replace(kept)
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + suffix))
    return kept


def kept(path: Path) -> tuple[str, ...]:
    """Names of files that were set aside and are still there, the newest first."""
    found = {
        each.name: int(match[1])
        for each in path.parent.iterdir()
        if each.name.startswith(path.name) and (match := _KEPT.fullmatch(each.name.removeprefix(path.name)))
    }
    return tuple(sorted(found, key=found.__getitem__, reverse=True))

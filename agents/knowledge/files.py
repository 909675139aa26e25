"""Documents on this machine: which there are, and their bytes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from antiphon.agents.knowledge.formats import SUFFIXES
from antiphon.runtime.errors import DocumentTooLarge, UnreadableDocument

MAX_FILES: Final = 10_000  # of one ingest: their names are one journal entry
MAX_BYTES: Final = 32 * 1024 * 1024  # of one document


@dataclass(frozen=True, kw_only=True)
class Listing:
    """``files`` to take in, absolute and sorted, and the ``folders`` that were searched whole."""

    files: list[str]
    folders: list[str]


def list_files(paths: Sequence[str]) -> Listing:
    """The files that ``paths`` name: a folder stands for all in it that has a suffix we read, hidden ones left out.

    A path where nothing is stays in the list: reading it says so. So does a name that is no UTF-8, as good as it can be
    written.

    Raises:
        DocumentTooLarge: more than MAX_FILES.
        UnreadableDocument: a folder that cannot be searched: what is in it must not count as gone.
    """
    files: dict[str, None] = {}
    folders: list[str] = []
    for path in (Path(path).expanduser().resolve() for path in paths):
        if path.is_dir():
            folders.append(_written(path))
        for file in _below(path) if path.is_dir() else [path]:
            files[_written(file)] = None
            if len(files) > MAX_FILES:
                raise DocumentTooLarge(
                    f"{path}: found more than {MAX_FILES} documents, the most of one ingest: take in parts of it"
                )
    return Listing(files=sorted(files), folders=sorted(folders))


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        DocumentTooLarge: over MAX_BYTES; nothing of it is read.
        UnreadableDocument: not there, no file, or not ours to read.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise UnreadableDocument(f"{path}: there is no such file on this machine", source=path)
        check_size(path, file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise UnreadableDocument(f"{path}: cannot be read ({error.strerror})", source=path) from error


def check_size(source: str, size: int) -> None:
    """Raises DocumentTooLarge for a document of more than MAX_BYTES."""
    if size > MAX_BYTES:
        raise DocumentTooLarge(
            f"{source}: found {size} bytes, expected at most {MAX_BYTES}: split it", source=source, size=size
        )


def _written(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(where, name)


def _refuse(error: OSError) -> None:
    raise UnreadableDocument(
        f"{error.filename}: this folder cannot be searched ({error.strerror}): make it readable, or name others",
        source=str(error.filename),
    ) from error

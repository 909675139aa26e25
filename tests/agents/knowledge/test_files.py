"""Documents on this machine."""

import os
from pathlib import Path
from typing import Any

import pytest

from antiphon.agents.knowledge import files
from antiphon.agents.knowledge.files import list_files, read_file
from antiphon.runtime.errors import DocumentTooLarge, UnreadableDocument


def test_a_folder_stands_for_the_documents_in_it(tmp_path: Path) -> None:
    """Of suffixes we read, hidden ones left out, absolute and sorted, each once."""
    for name in ("b.md", "a.TXT", "sub/c.html", ".hidden.md", ".git/d.md", "code.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = list_files([str(tmp_path), str(tmp_path / "b.md")])
    assert found.files == [str(tmp_path / name) for name in ("a.TXT", "b.md", "sub/c.html")]
    assert found.folders == [str(tmp_path)]


def test_a_path_that_is_named_is_listed_whatever_it_is(tmp_path: Path) -> None:
    """Reading it will say what is wrong with it."""
    paths = [str(tmp_path / "code.py"), str(tmp_path / "nothing.md")]
    assert list_files(paths).files == paths
    assert list_files(paths).folders == []


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder and the limit."""
    monkeypatch.setattr(files, "MAX_FILES", 2)
    for name in "abc":
        (tmp_path / f"{name}.md").write_text("x")
    with pytest.raises(DocumentTooLarge, match="more than 2 documents"):
        list_files([str(tmp_path)])


def test_a_file_is_read_as_bytes(tmp_path: Path) -> None:
    """Nothing is decoded."""
    (tmp_path / "a.md").write_bytes(b"\xff\0")
    assert read_file(str(tmp_path / "a.md")) == b"\xff\0"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """200 MB that take no room on the disk, and both numbers in the error."""
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(DocumentTooLarge, match="found 200000000 bytes, expected at most 33554432"):
        read_file(str(tmp_path / "big.txt"))


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    """Nothing there, or a folder."""
    for path in (tmp_path / "nothing.md", tmp_path):
        with pytest.raises(UnreadableDocument, match="there is no such file"):
            read_file(str(path))


def test_a_folder_that_cannot_be_searched_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all that was taken in from it would be forgotten."""
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "a.md").write_text("x")
    search = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return search(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UnreadableDocument, match=r"shut: this folder cannot be searched \(Permission denied\)"):
        list_files([str(tmp_path)])


def test_a_name_that_is_no_utf_8_keeps_no_other_out(tmp_path: Path) -> None:
    """It is listed as good as JSON can carry it, and refused when it is read."""
    (tmp_path / "a.md").write_text("x")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.md")).write_text("x")
    except OSError:
        pytest.skip("this file system has no such names")
    first, second = list_files([str(tmp_path)]).files
    assert (first, second) == (str(tmp_path / "a.md"), str(tmp_path / "b\ufffd.md"))
    with pytest.raises(UnreadableDocument, match="no such file"):
        read_file(second)

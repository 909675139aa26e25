"""Checkpoints that are truncated, damaged or made to do harm are refused: with one error, at once, in little memory."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.runtime.engine.checkpoint import Checkpoint, open_checkpoint
from antiphon.runtime.engine.gguf_file import open_gguf
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import ModelFileError

MANY = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
JUNK = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 1, 2, 10**9, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", "llama", "x"]
    ),
    st.sampled_from([[], [1], ["a", "b"], {}, {"a": 1}, [[]]]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint, put back after each test that damages it."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("whole"), family="qwen3")


@pytest.fixture(scope="module")
def gguf_file(folder: Path, gguf_maker_of: Any) -> Path:
    """The same as GGUF."""
    written: Path = gguf_maker_of(folder).write(folder.parent / "tiny.gguf")
    return written


def use(path: Path) -> Checkpoint:
    """Open it and read all that a model reads."""
    checkpoint = open_checkpoint(path)
    config, weights = checkpoint.config, checkpoint.weights
    weights.get("model.embed_tokens.weight", (config.vocabulary, config.width))
    for layer in range(config.layers):
        at = f"model.layers.{layer}.self_attn"
        weights.packed(f"{at}.q_proj.weight", (config.heads * config.head_width, config.width))
        weights.get(f"{at}.k_proj.weight", (config.kv_heads * config.head_width, config.width))
        if config.qk_norm:
            weights.get(f"{at}.q_norm.weight", (config.head_width,))
    assert max(checkpoint.tokenizer.encode("the thin 🎉 <|im_start|>"), default=0) < config.vocabulary
    for token in range(300):
        checkpoint.tokenizer.token_bytes(token)
    return checkpoint


def works_or_is_refused(path: Path) -> bool:
    """Whether it works. Anything but ModelFileError fails the test."""
    try:
        use(path)
    except ModelFileError as error:
        assert len(str(error)) < 2_000
        return False
    return True


@MANY
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(data: st.DataObject, gguf_file: Path, folder: Path, tmp_path: Path) -> None:
    """GGUF within its header and its tensors; safetensors too."""
    whole = gguf_file.read_bytes()
    end = max(info.offset + info.size for info in open_gguf(gguf_file).tensors.values())
    cut = tmp_path / "cut.gguf"
    header = st.integers(0, min(info.offset for info in open_gguf(gguf_file).tensors.values()))
    cut.write_bytes(whole[: data.draw(st.one_of(header, st.integers(0, end - 1)))])
    assert not works_or_is_refused(cut)
    (tmp_path / "model").mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "model" / name).write_bytes((folder / name).read_bytes())
    tensors = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model" / "model.safetensors").write_bytes(tensors[: data.draw(st.integers(0, len(tensors) - 1))])
    assert not works_or_is_refused(tmp_path / "model")


@MANY
@given(data=st.data())
def test_bytes_changed_in_the_header_do_no_harm(data: st.DataObject, gguf_file: Path, tmp_path: Path) -> None:
    """It is another file that works, or one that is refused."""
    whole = bytearray(gguf_file.read_bytes())
    start = min(info.offset for info in open_gguf(gguf_file).tensors.values())
    # Numbers first: most of a header is the text of tokens, where a changed byte is another token.
    places = st.one_of(st.integers(0, 200), st.integers(start - 2000, start), st.integers(0, start))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        whole[at] = value
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(whole)
    works_or_is_refused(changed)


@MANY
@given(data=st.data())
def test_bytes_changed_in_safetensors_do_no_harm(data: st.DataObject, folder: Path, tmp_path: Path) -> None:
    """Their header is JSON with a length before it."""
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    whole = bytearray((folder / "model.safetensors").read_bytes())
    (length,) = struct.unpack_from("<Q", whole)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 8 + length), st.integers(0, 255)), min_size=1)):
        whole[at] = value
    (tmp_path / "model.safetensors").write_bytes(whole)
    works_or_is_refused(tmp_path)


@MANY
@given(data=st.data(), name=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json"]))
def test_entries_of_any_kind_do_no_harm(data: st.DataObject, name: str, folder: Path) -> None:
    """Missing, of another type, negative, not a number, without end: in every JSON file."""
    original = (folder / name).read_text()
    root: Any = json.loads(original)
    node, key = root, data.draw(st.sampled_from(sorted(root)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.integers(0, 4)):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node))) if isinstance(node, dict) else data.draw(_index(node))
    node[key] = data.draw(JUNK)
    try:
        (folder / name).write_text(json.dumps(root))
        works_or_is_refused(folder)
    finally:
        (folder / name).write_text(original)


def _index(items: list[Any]) -> st.SearchStrategy[int]:
    return st.integers(0, len(items) - 1)


def string(text: str) -> bytes:
    """As GGUF has it."""
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(*entries: bytes, tensors: bytes = b"", count: int = 0) -> bytes:
    """A file of these metadata entries and this table of ``count`` tensors, and 4,096 bytes."""
    return b"GGUF" + struct.pack("<IQQ", 3, count, len(entries)) + b"".join(entries) + tensors + bytes(4096)


def tensor(name: str, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    """A row of that table."""
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ABSURD = {
    "tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0) + bytes(64),
    "entries": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63) + bytes(64),
    "long name": gguf(struct.pack("<Q", 2**63)),
    "long string": gguf(string("a") + struct.pack("<IQ", 8, 2**62)),
    "long array": gguf(string("a") + struct.pack("<IIQ", 9, 0, 2**60)),
    "long array of strings": gguf(string("a") + struct.pack("<IIQ", 9, 8, 2**60)),
    "array of arrays": gguf(string("a") + struct.pack("<IIQ", 9, 9, 1) * 5000),
    "unknown type": gguf(string("a") + struct.pack("<I", 99)),
    "large dimensions": gguf(tensors=tensor("a", 2**62, 2**62, 2**62, 2**62), count=1),
    "no dimensions": gguf(tensors=tensor("a"), count=1),
    "many dimensions": gguf(tensors=tensor("a", *[1] * 5000), count=1),
    "nothing in it": gguf(tensors=tensor("a", 0, 4), count=1),
    "half a block": gguf(tensors=tensor("a", 33, kind=8), count=1),
    "beyond the end": gguf(tensors=tensor("a", 32, offset=2**63), count=1),
    "twice": gguf(tensors=tensor("a", 8) + tensor("a", 8, offset=32), count=2),
    "over each other": gguf(tensors=tensor("a", 32) + tensor("b", 32, offset=64), count=2),
    "not aligned": gguf(tensors=tensor("a", 8, offset=4), count=1),
    "alignment": gguf(string("general.alignment") + struct.pack("<II", 4, 0), tensors=tensor("a", 8), count=1),
}


@pytest.mark.parametrize("content", ABSURD.values(), ids=ABSURD)
def test_absurd_headers_are_refused(content: bytes, tmp_path: Path) -> None:
    """Counts, lengths and places are held against the file's size before anything is allocated for them."""
    path = tmp_path / "absurd.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        open_gguf(path)


def test_a_header_is_not_as_large_as_the_file(tmp_path: Path) -> None:
    """A file may have a hole of gigabytes, which costs nothing on disk and would in memory."""
    path = tmp_path / "hole.gguf"
    path.write_bytes(gguf(string("a") + struct.pack("<IQ", 8, 2**31)))
    os.truncate(path, 2**32)
    with pytest.raises(ModelFileError, match="ends inside its header"):
        open_gguf(path)


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy to damage."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    yield tmp_path


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    "content", [b'{"a":' * 100_000, b"[" * 100_000, b"\xff\xfe", b'{"a": 1' + b"0" * 10_000 + b"}", b""]
)
def test_json_that_bursts_its_reader_is_refused(name: str, content: bytes, model: Path) -> None:
    """Nested without end, numbers without end, no text at all."""
    (model / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=f"{name}: cannot be read"):
        open_checkpoint(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_text_files_have_a_largest_size(name: str, model: Path) -> None:
    """Far above any in use, far below what a machine has."""
    (model / name).touch()
    os.truncate(model / name, 2**30)
    with pytest.raises(ModelFileError, match=r"found 1073741824 bytes, expected \d+ at most"):
        open_checkpoint(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "generation_config.json"])
def test_a_pipe_is_not_waited_for(name: str, model: Path) -> None:
    """Nothing would ever come out of it."""
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(ModelFileError):
        open_checkpoint(model)


def test_a_tokenizer_of_another_model_is_refused(folder: Path, gguf_maker_of: Any, tmp_path: Path) -> None:
    """Its ids would point beyond the embedding. Fewer tokens than rows are usual: tables are padded."""
    small = write_tiny_checkpoint(tmp_path / "small", vocab_size=200)
    with pytest.raises(ModelFileError, match="found token 262 in the tokenizer, expected a vocabulary of 200"):
        open_checkpoint(small)
    with pytest.raises(ModelFileError, match=r"found model\.embed_tokens\.weight of shape \(200, 32\)"):
        use(gguf_maker_of(small).write(tmp_path / "small.gguf"))
    assert use(write_tiny_checkpoint(tmp_path / "padded", vocab_size=320)).config.vocabulary == 320

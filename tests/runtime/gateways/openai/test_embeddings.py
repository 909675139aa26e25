import base64
import struct
from typing import Any

import pytest

from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.gateways.openai.embeddings import embed_request, embedding_list
from antiphon.runtime.gateways.openai.generation import Stamp
from antiphon.runtime.gateways.openai.requests import EmbeddingRequest, read
from antiphon.schemas.inference import Embeddings, Usage

STAMP = Stamp(tenant="acme", deadline_unix_ms=9)
FOUND = Embeddings(vectors=((0.25, -1.5), (3.0, 0.0)), usage=Usage(input_tokens=4))


def asked(**given: Any) -> EmbeddingRequest:
    """A request."""
    return read(EmbeddingRequest, {"model": "m", "input": ["a", "b"]} | given)


def test_vectors_in_both_forms() -> None:
    """Numbers by default, as the API says; packed ones are 32-bit floats, little end first."""
    plain = embedding_list(asked(), FOUND)
    assert [each["embedding"] for each in plain["data"]] == [[0.25, -1.5], [3.0, 0.0]]
    assert plain["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    packed = embedding_list(asked(encoding_format="base64"), FOUND)["data"][0]["embedding"]
    assert isinstance(packed, str) and struct.unpack("<2f", base64.b64decode(packed)) == (0.25, -1.5)


@pytest.mark.parametrize(
    ("given", "param"),
    [({"input": [[1]]}, "input"), ({"input": ["a", [1]]}, "input"), ({"input": ["a"] * 2049}, "input")],
)
def test_what_is_not_embedded(given: dict[str, Any], param: str) -> None:
    """Token ids, which are another model's, and more than are taken at once."""
    with pytest.raises(InvalidRequest) as raised:
        embed_request(asked(**given), STAMP)
    assert raised.value.details == {"param": param}


def test_dimensions_are_what_they_are() -> None:
    """Only the model's own can be asked for."""
    assert len(embedding_list(asked(dimensions=2), FOUND)["data"]) == 2
    with pytest.raises(InvalidRequest, match="dimensions is 1, expected 2"):
        embedding_list(asked(dimensions=1), FOUND)

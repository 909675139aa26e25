"""Texts to vectors, and vectors as OpenAI writes them. Pure."""

import base64
import struct
from collections.abc import Sequence

from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.gateways.openai.generation import Stamp
from antiphon.runtime.gateways.openai.requests import MOST_TEXTS, EmbeddingRequest
from antiphon.schemas.inference import Embeddings, EmbedRequest
from antiphon.schemas.openai import EmbeddingList, EmbeddingObject, EmbeddingUsage


def embed_request(asked: EmbeddingRequest, stamp: Stamp) -> EmbedRequest:
    """What an instance is asked for. Raises InvalidRequest for token ids and for too many texts."""
    texts = tuple(each for each in asked.input if isinstance(each, str))
    if len(texts) < len(asked.input):
        raise InvalidRequest("input: found token ids, expected text: models here have their own tokens", param="input")
    if len(texts) > MOST_TEXTS:
        raise InvalidRequest(f"input: found {len(texts)} texts, expected {MOST_TEXTS} at most", param="input")
    return EmbedRequest(model=asked.model, texts=texts, deadline_unix_ms=stamp.deadline_unix_ms)


def embedding_list(asked: EmbeddingRequest, found: Embeddings) -> EmbeddingList:
    """The answer. Raises InvalidRequest if the vectors do not have the dimensions that were asked for."""
    width = len(found.vectors[0])
    if asked.dimensions not in (None, width):
        raise InvalidRequest(
            f"dimensions is {asked.dimensions}, expected {width}: vectors of {asked.model!r} are not cut",
            param="dimensions",
        )
    packed = asked.encoding_format == "base64"
    data = [
        EmbeddingObject(object="embedding", index=index, embedding=_packed(vector) if packed else list(vector))
        for index, vector in enumerate(found.vectors)
    ]
    read = found.usage.input_tokens
    usage = EmbeddingUsage(prompt_tokens=read, total_tokens=read)
    return EmbeddingList(object="list", model=asked.model, data=data, usage=usage)


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

"""Documents, and a library of which the vectors are counts of words."""

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.agents.knowledge.agent import Knowledge, knowledge_agent
from antiphon.agents.knowledge.sqlite_store import SqliteStore
from antiphon.agents.knowledge.words import words_of
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.schemas.inference import Embeddings, EmbedRequest, GenerateRequest

WIDTH = 32


def vector_of(text: str) -> list[float]:
    """How often words of each of WIDTH kinds occur: texts that share words are near."""
    vector = [0.01] * WIDTH
    for word in words_of(text):
        vector[zlib.crc32(word.encode()) % WIDTH] += 1.0
    return vector


class CountingEmbedder(ScriptedModel):
    """Embeds by counting words, and keeps what it was given; ``watch`` sees each request before it is answered.

    The nodes of a test share it, so a node that goes does not close it.
    """

    def __init__(self) -> None:
        super().__init__([], embed=vector_of)
        self.texts: list[str] = []
        self.watch: Callable[[int], None] = lambda count: None

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance."""
        self.texts += request.texts
        self.watch(len(self.texts))
        return await super().embed(request)

    async def close(self) -> None:
        """Stay open."""


class Echo(ScriptedModel):
    """A language model whose reply is the last line of its prompt; it is as little closed."""

    def __init__(self) -> None:
        super().__init__(_last_line)

    async def close(self) -> None:
        """Stay open."""


def _last_line(request: GenerateRequest) -> str:
    return request.conversation[-1].text.rsplit("\n", 1)[-1]


@pytest.fixture
def embedder() -> CountingEmbedder:
    """The embedding model."""
    return CountingEmbedder()


@pytest.fixture
def models(embedder: CountingEmbedder) -> dict[str, ScriptedModel]:
    """Both models that a knowledge agent has."""
    return {"all-minilm-l6-v2": embedder, "smollm2-135m": Echo()}


@pytest.fixture
def knowledge(tmp_path: Path) -> Knowledge:
    """The agent, with its library in a file."""
    return knowledge_agent(store=SqliteStore(tmp_path / "library.db"))


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """Makes a PDF with a text on each page."""

    def make(*pages: str, title: str = "") -> bytes:
        from pypdf import PdfWriter
        from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

        writer = PdfWriter()
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        for text in pages:
            page = writer.add_blank_page(width=400, height=400)
            content = DecodedStreamObject()
            content.set_data(f"BT /F1 12 Tf 40 300 Td ({text}) Tj ET".encode())
            page[NameObject("/Contents")] = writer._add_object(content)
            fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        if title:
            writer.add_metadata({"/Title": title})
        import io

        target = io.BytesIO()
        writer.write(target)
        return target.getvalue()

    return make

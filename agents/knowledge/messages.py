"""What is said to a knowledge agent and by it. Wire names have a prefix: many systems have a Question of their own."""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from antiphon.schemas.message import Message, Value
from antiphon.schemas.task import ErrorInfo


class Document(Value):
    """A document as its bytes (base64 in JSON); ``name`` says what it should be, as a file's name does."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    name: str = Field(min_length=1, max_length=1024)
    content: bytes


class Ingest(Message, name="KnowledgeIngest"):
    """Take documents in. Paths are files and folders of the machine that runs the agent.

    A document that is as it was is left alone; of one that changed only new sections are embedded; what has gone from a
    folder that was taken in goes from the library.
    """

    paths: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.paths and not self.documents:
            raise ValueError("expected paths or documents")
        return self


class Refused(Value):
    """A document that could not be taken in, and why."""

    source: str
    error: ErrorInfo


class Ingested(Message, name="KnowledgeIngested"):
    """What became of an Ingest: documents taken in, left alone, gone from their folder, refused; passages embedded."""

    added: int
    unchanged: int
    removed: int
    embedded: int
    refused: tuple[Refused, ...] = ()


class IngestProgress(Value):
    """How far an ingest has come: ``done`` of ``total`` documents, and passages embedded so far."""

    done: int
    total: int
    source: str
    embedded: int


class AddPart(Message, name="KnowledgeAddPart"):
    """Take in the next part of one document; ``ingest`` sends these until nothing remains."""

    source: str
    document: Document | None = None  # None: read the file that ``source`` names


class PartAdded(Message, name="KnowledgePartAdded"):
    """Passages embedded now, and how many remain; ``changed`` is False for a document that was there as it is."""

    changed: bool
    embedded: int = 0
    remaining: int = 0


class Query(Message, name="KnowledgeQuery"):
    """Look for the passages that say most about ``text``."""

    text: str = Field(min_length=1, max_length=8192)
    limit: int = Field(default=5, ge=1, le=100)


class Passage(Value):
    """A part of a document: the headings above it, its lines (0 where the format has none) and its score."""

    source: str
    heading: tuple[str, ...]
    first_line: int
    last_line: int
    text: str
    score: float


class Passages(Message, name="KnowledgePassages"):
    """The best first."""

    passages: tuple[Passage, ...]


class Question(Message, name="KnowledgeQuestion"):
    """Answer ``text`` from the library, from at most ``limit`` passages."""

    text: str = Field(min_length=1, max_length=8192)
    limit: int = Field(default=5, ge=1, le=20)


class Answer(Message, name="KnowledgeAnswer"):
    """``sources`` are the passages that the model was given: [1] in the text is the first of them."""

    text: str
    sources: tuple[Passage, ...]


class ListSources(Message, name="KnowledgeListSources"):
    """Which documents are in the library?"""


class SourceInfo(Value):
    """A document in the library; ``passages`` is how many it was cut into."""

    source: str
    passages: int
    added_unix_ms: int


class Sources(Message, name="KnowledgeSources"):
    """By name."""

    sources: tuple[SourceInfo, ...]


class Remove(Message, name="KnowledgeRemove"):
    """Forget these documents; names that are unknown are left out of the answer."""

    sources: tuple[str, ...] = Field(min_length=1)


class Removed(Message, name="KnowledgeRemoved"):
    """What was there, and is no more."""

    sources: tuple[str, ...]

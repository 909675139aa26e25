"""What the logging agent says: a pattern it saw, the evidence, and what a remedy would save."""

from enum import StrEnum

from pydantic import Field

from antiphon.schemas.message import Message, Value


class Grade(StrEnum):
    """How sure a finding is."""

    A = "A"  # proven from recorded facts
    B = "B"  # statistical
    C = "C"  # advice


class FindingState(StrEnum):
    """Where a finding is."""

    CANDIDATE = "candidate"  # seen, below the required support: no saving is claimed
    OPEN = "open"  # supported and estimated
    DISMISSED = "dismissed"  # a person said no


class Estimate(Value):
    """A predicted quantity: point and 90 % interval (low, high)."""

    point: float
    low: float
    high: float


class Saving(Value):
    """What the remedy would save per run; None where the record does not say."""

    latency_s: Estimate | None = None
    tokens: Estimate | None = None
    model_s: Estimate | None = None  # seconds of model instance time


class Remedy(Value):
    """What to do: words for a person, and a policy kind with parameters where one exists."""

    text: str
    action: str | None = None
    params: dict[str, str] = Field(default_factory=dict)


class Finding(Message):
    """One pattern in one cohort. ``id`` is its fingerprint: a later message with the same id replaces it.

    Evidence ids are hexadecimal. ``support`` of ``required`` runs (or calls: ``support_unit``).
    """

    id: str
    pattern: str
    title: str
    cohort: str
    subject: str  # the agent, tool or model it is about
    state: FindingState
    grade: Grade
    support: int
    required: int
    support_unit: str = "runs"
    evidence_traces: tuple[str, ...] = ()
    evidence_spans: tuple[str, ...] = ()
    prevalence: float | None = None  # share of the cohort's runs that show it
    saving: Saving | None = None
    assumptions: tuple[str, ...] = ()
    remedy: Remedy
    first_seen_unix_ms: int
    last_seen_unix_ms: int

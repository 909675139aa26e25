"""What the logging agent says: a pattern it saw, the evidence, and what a remedy would save."""

from enum import StrEnum

from antiphon.schemas.message import Message, Value
from antiphon.schemas.policy import Proposal


class Grade(StrEnum):
    """How sure a finding is."""

    A = "A"  # proven from recorded facts
    B = "B"  # statistical
    C = "C"  # advice


class FindingState(StrEnum):
    """Where a finding is."""

    CANDIDATE = "candidate"  # seen, below the required support: no saving is claimed
    OPEN = "open"  # supported and estimated by replay
    SHADOW = "shadow"  # its remedy is computed beside the old way, and results are compared
    CANARY = "canary"  # its remedy serves a share of the runs
    APPLIED = "applied"  # a person let its remedy serve all: nothing was measured
    VERIFIED = "verified"  # the saving was measured; its remedy serves all
    REFUTED = "refuted"  # measured, and taken back: no saving, other results, or a guardrail
    DISMISSED = "dismissed"  # a person said no
    GONE = "gone"  # runs no longer show it


class Estimate(Value):
    """A predicted quantity: point and 90 % interval (low, high)."""

    point: float
    low: float
    high: float


class Saving(Value):
    """What the remedy would save per run; None where the record does not say."""

    latency_s: Estimate | None = None  # mean
    latency_p95_s: Estimate | None = None
    tokens: Estimate | None = None
    model_s: Estimate | None = None  # seconds of model instance time
    usd: Estimate | None = None


class Remedy(Value):
    """What to do: words for a person, and the policy that would do it, where one exists."""

    text: str
    proposal: Proposal | None = None


class QualityRisk(StrEnum):
    """Whether the remedy may change what runs result in."""

    NONE = "none"
    LOW = "low"
    NEEDS_EVALUATION = "needs-eval"


class Realised(Value):
    """What was measured with the remedy on and off. ``runs``: treated and control; ``failed``: how many of them did.

    Means are over the runs that did not fail.
    """

    saving: Saving
    runs: tuple[int, int]
    failed: tuple[int, int] = (0, 0)
    prediction_error: float | None = None  # (predicted - realised) / realised, of mean latency or else tokens


class Finding(Message, version=2):
    """One pattern in one cohort. ``id`` is its fingerprint: a later message with the same id replaces it.

    Evidence ids are hexadecimal. ``support`` of ``required`` runs (or calls: ``support_unit``). ``factor``: what
    earlier measurements of the pattern have taught; replay said ``saving / factor``.
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
    factor: float = 1.0
    assumptions: tuple[str, ...] = ()
    remedy: Remedy
    quality_risk: QualityRisk = QualityRisk.NONE
    realised: Realised | None = None
    note: str = ""  # why it is in this state, for people
    first_seen_unix_ms: int
    last_seen_unix_ms: int

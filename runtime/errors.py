"""One exception tree. A message says what was found, what was expected and what to do.

AntiphonError
├── ConfigurationError        a setting, a definition or an extra that is wrong or missing
│   ├── InvalidResult         a tool or step returned what JSON, or its own annotation, cannot carry
│   ├── MissingExtra          a feature whose packages are not installed
│   └── LoadError             a system, agent or file that cannot be imported
├── BusError
│   ├── BusUnavailable        no server, or the connection is gone (retryable)
│   ├── NoResponders          nobody listens on the subject (retryable)
│   ├── RequestTimeout        nobody answered in time (retryable)
│   ├── MessageTooLarge       body and headers exceed what the bus carries
│   └── Conflict              a fenced append or a compare-and-set found something newer
├── MessageError              bytes that are not the message that was expected (caller's fault)
│   ├── UnknownType           a message name nobody registered here
│   ├── UnknownVersion        a version of a message this side does not read
│   └── InvalidMessage        malformed JSON, or a body that fails validation
├── AgentError
│   ├── UnknownAgent          no such agent has ever been seen
│   ├── UnknownHandler        the agent has no such handler
│   ├── HandlerFailed         the handler at the other end raised
│   ├── ForeignTask           ``ctx`` used from an asyncio task it does not belong to
│   ├── NotDurable            something that only a durable task can do
│   ├── Diverged              the code no longer does what the task's journal says it did
│   ├── InDoubt               a write without idempotency key may or may not have happened
│   ├── VersionMismatch       no node serves the version of the agent that began the task
│   ├── LeaseLost             another worker has taken the task over (retryable)
│   ├── TaskParked            the task gave up its slot to wait (never seen by a caller)
│   ├── NodeStopping          the node stopped or died while it held the work (retryable)
│   ├── QuorumMissed          too few calls of a fan-out succeeded
│   ├── RestartsExceeded      a supervisor gave up
│   ├── NoRoute               a router has no flow for a label
│   └── Busy                  the mailbox is full (retryable)
├── ToolError
│   ├── InvalidArguments      arguments that do not fit the tool's schema
│   ├── ToolTimeout           the tool did not end in the time that it declares (retryable)
│   ├── ToolFailed            the server behind the tool says that it failed
│   ├── ToolUnavailable       the server behind the tool cannot be reached, or went away (retryable)
│   └── ToolRejected          the person who was asked said no
├── StepsExceeded             a loop of model and tools came to no answer in its steps
├── Refused                   a guard did not let something through
├── Unanswerable              a question about recorded runs that they cannot answer, or not in time
├── UnknownTask               no trace of a task with that id
├── UnknownLetter             no dead letter of that number, or it was settled before
├── UnknownApproval           no approval with that id
├── UnknownSession            the agent has no conversation under that key, or no such node in it
├── SessionExists             a fork would have to replace a conversation
├── AlreadyAnswered           somebody has answered the approval, or its time has passed
├── BudgetExceeded            the run has used up what it was given
├── Stalled                   a program under virtual time cannot go on
├── DeadlineExceeded          the time the caller gave has passed
├── TaskCancelled             somebody stopped the task
├── TaskDead                  every attempt failed
├── KnowledgeError
│   ├── LibraryUnavailable    the store of a library cannot be reached, or is locked (retryable)
│   ├── EmptyDocument         a document in which there is no text
│   ├── DocumentTooLarge      a document, or a folder, beyond what is taken in
│   ├── WrongFormat           a document that is not what its name says
│   └── UnreadableDocument    missing, damaged, locked, or in an unknown encoding
└── ModelError
    ├── UnknownModel          a model name that settings do not define
    ├── ModelFileError        a checkpoint that is missing, corrupt, truncated or of an unknown family
    ├── ModelUnavailable      the instance cannot be reached or is overloaded (retryable)
    │   └── ModelBusy         it has as many requests as it takes (retryable)
    ├── ContextTooLong        prompt and output exceed the model's context
    ├── NotEnoughMemory       a model that needs more memory than there is
    ├── BrokenScores          the model's scores are not finite numbers
    ├── InvalidRequest        sampling values, tools or a schema the instance cannot take
    └── InvalidOutput         the reply is not what the caller asked for
"""

from antiphon.schemas.task import ErrorInfo

MAX_MESSAGE = 4096


class AntiphonError(Exception):
    """Base of all. ``details`` are ids and numbers; ``retryable`` says whether trying again may help."""

    retryable: bool = False

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str] = {key: str(value) for key, value in details.items()}

    def info(self) -> ErrorInfo:
        """The error as it crosses the wire."""
        return ErrorInfo(type=type(self).__name__, message=self.message, retryable=self.retryable, details=self.details)


class ConfigurationError(AntiphonError):
    """A setting, a definition or an extra that is wrong or missing."""


class InvalidResult(ConfigurationError):
    """A tool or step returned what JSON cannot carry, or something else than it declares."""


class MissingExtra(ConfigurationError):
    """A feature whose packages are not installed."""


class LoadError(ConfigurationError):
    """A system, agent or file that cannot be imported."""


class BusError(AntiphonError):
    """Something between the processes."""


class BusUnavailable(BusError):
    """No server, or the connection is gone."""

    retryable = True


class NoResponders(BusError):
    """Nobody listens on the subject."""

    retryable = True


class RequestTimeout(BusError):
    """Nobody answered in time."""

    retryable = True


class MessageTooLarge(BusError):
    """Body and headers exceed what the bus carries."""


class Conflict(BusError):
    """A fenced append or a compare-and-set found something newer."""


class MessageError(AntiphonError):
    """Bytes that are not the message that was expected."""


class UnknownType(MessageError):
    """A message name nobody registered here."""


class UnknownVersion(MessageError):
    """A version of a message this side does not read."""


class InvalidMessage(MessageError):
    """Malformed JSON, or a body that fails validation."""


class AgentError(AntiphonError):
    """Something about an agent."""


class UnknownAgent(AgentError):
    """No such agent has ever been seen."""


class UnknownHandler(AgentError):
    """The agent has no such handler."""


class HandlerFailed(AgentError):
    """The handler at the other end raised; ``details["type"]`` names its exception, which decides ``retryable``."""


class ForeignTask(AgentError):
    """``ctx`` was used from an asyncio task it does not belong to."""


class NotDurable(AgentError):
    """Something that only a durable task can do, such as waiting for a person."""


class Diverged(AgentError):
    """The code no longer does what the task's journal says it did; both operations are in the message."""


class InDoubt(AgentError):
    """A write without idempotency key began, and nothing says whether it happened: a person decides."""


class VersionMismatch(AgentError):
    """No node serves the version of the agent that began the task."""


class LeaseLost(AgentError):
    """Another worker has taken the task over: this one may do nothing more for it."""

    retryable = True


class TaskParked(AgentError):
    """The task gave up its slot to wait. It ends the attempt, not the task; no caller ever sees it."""

    retryable = True


class QuorumMissed(AgentError):
    """Too few calls of a fan-out succeeded; ``details`` have ``succeeded``, ``quorum`` and ``calls``."""


class RestartsExceeded(AgentError):
    """A supervisor gave up; ``details`` have ``child``, ``restarts``, ``within_s`` and the child's error ``type``."""


class NoRoute(AgentError):
    """A router has no flow for a label; ``details`` have ``label``."""


class Busy(AgentError):
    """The mailbox is full."""

    retryable = True


class NodeStopping(AgentError):
    """The node stopped or died while it held the work."""

    retryable = True


class ToolError(AntiphonError):
    """Something about a run of a tool; ``details["tool"]`` names it."""


class InvalidArguments(ToolError):
    """Arguments that do not fit the tool's schema; the message is written so that a model can mend them."""


class ToolTimeout(ToolError):
    """The tool did not end in the time that it declares, and was stopped."""

    retryable = True


class ToolFailed(ToolError):
    """The server behind the tool says that it failed; the message is the server's own."""


class ToolUnavailable(ToolError):
    """The server behind the tool cannot be reached, or went away: the tool did not run, or only reads."""

    retryable = True


class ToolRejected(ToolError):
    """The person who was asked said no; ``details`` have ``by`` and ``comment``."""


class StepsExceeded(AntiphonError):
    """A loop of model and tools came to no answer; ``details`` have ``steps``, ``tool_calls`` and ``tools``."""


class Refused(AntiphonError):
    """A guard did not let something through; ``details`` have ``guard``, ``stage``, ``target`` and ``reason``."""


class Unanswerable(AntiphonError):
    """A question about recorded runs that they cannot answer: they lack what it asks for, are damaged or too many."""


class UnknownTask(AntiphonError):
    """No trace of a task with that id."""


class UnknownLetter(AntiphonError):
    """No dead letter of that number, or it was redriven or dropped before."""


class UnknownApproval(AntiphonError):
    """No approval with that id."""


class UnknownSession(AntiphonError):
    """The agent has no conversation under that key, or the conversation no such node."""


class SessionExists(AntiphonError):
    """A fork would have to replace a conversation that is there."""


class AlreadyAnswered(AntiphonError):
    """Somebody has answered the approval, or its time has passed."""


class BudgetExceeded(AntiphonError):
    """The run has used up what it was given; ``details`` name the budget, the limit and what was used."""


class Stalled(AntiphonError):
    """A program under virtual time cannot go on, or does not end; the message names the tasks that wait, and where."""


class DeadlineExceeded(AntiphonError):
    """The time the caller gave has passed."""


class TaskCancelled(AntiphonError):
    """Somebody stopped the task."""


class TaskDead(AntiphonError):
    """Every attempt failed."""


class KnowledgeError(AntiphonError):
    """Something about a library of documents; ``details["source"]`` names the document."""


class LibraryUnavailable(KnowledgeError):
    """The store of a library cannot be reached, or others hold its lock."""

    retryable = True


class EmptyDocument(KnowledgeError):
    """A document in which there is no text."""


class DocumentTooLarge(KnowledgeError):
    """A document, or a folder, beyond what is taken in; both numbers are in the message."""


class WrongFormat(KnowledgeError):
    """A document that is not what its name says, or of a kind that is not read."""


class UnreadableDocument(KnowledgeError):
    """A document that is missing, damaged, locked, or in an unknown encoding."""


class ModelError(AntiphonError):
    """Something about a model instance."""


class UnknownModel(ModelError):
    """A model name that settings do not define."""


class ModelFileError(ModelError):
    """A checkpoint that is missing, corrupt, truncated or of an unknown family."""


class ModelUnavailable(ModelError):
    """The instance cannot be reached or is overloaded."""

    retryable = True


class ModelBusy(ModelUnavailable):
    """The instance has as many requests as it takes; ``details["retry_after_s"]`` says when to come again."""


class ContextTooLong(ModelError):
    """Prompt and output exceed the model's context."""


class NotEnoughMemory(ModelError):
    """A model that needs more memory than there is; ``details``, if known: ``need_bytes`` and ``available_bytes``."""


class BrokenScores(ModelError):
    """The model's scores are not finite numbers: damaged weights, or an overflow."""


class InvalidRequest(ModelError):
    """Sampling values, tools or a schema the instance cannot take."""


class InvalidOutput(ModelError):
    """The reply is not what the caller asked for; at a temperature above 0 another attempt may do better."""

    retryable = True


def _tree(root: type[AntiphonError]) -> dict[str, type[AntiphonError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


_BY_NAME = _tree(AntiphonError)


def from_info(info: ErrorInfo) -> AntiphonError:
    """The exception that ``info`` describes; one that is not ours comes back as HandlerFailed.

    The class decides ``retryable`` for our own types; a foreign type keeps its name in ``details["type"]``.
    """
    known = _BY_NAME.get(info.type)
    if known is not None:
        error = known(info.message)
        error.details = dict(info.details)
        return error
    error = HandlerFailed(f"{info.type}: {info.message}")
    error.details = {**info.details, "type": info.type}
    error.retryable = info.retryable
    return error


def to_info(error: BaseException) -> ErrorInfo:
    """Any exception as it crosses the wire. A foreign one is taken as retryable: another attempt may help.

    A message is cut at MAX_MESSAGE characters: some libraries put whole documents there.
    """
    if isinstance(error, AntiphonError):
        info = error.info()
    else:
        # A KeyError's text is the repr of its key: through journal or wire, it would gain quotes each time.
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        info = ErrorInfo(type=type(error).__name__, message=text or type(error).__name__, retryable=True)
    if len(info.message) <= MAX_MESSAGE:
        return info
    return info.model_copy(update={"message": info.message[:MAX_MESSAGE] + "…"})


def error_type(error: BaseException) -> str:
    """The name that crosses the wire; for a foreign exception at the other end, the name it had there."""
    if isinstance(error, HandlerFailed):
        return error.details.get("type", "HandlerFailed")
    return type(error).__name__

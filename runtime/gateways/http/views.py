"""What the door says about a task."""

from typing import Any

from antiphon.runtime.delivery.task_status import TaskStatus
from antiphon.schemas.message import Value
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState


class Submitted(Value):
    """Durable work that was stored. ``run`` is what everything it causes is traced under."""

    task: str
    run: str


class TaskView(Value):
    """A task now. ``handler`` is ``agent.handler``, or empty where only the outcome is left.

    ``waits`` says what a parked task waits for. ``value`` is the reply of one that succeeded.
    """

    task: str
    state: TaskState
    handler: str = ""
    attempts: int = 0
    waits: tuple[str, ...] = ()
    value: Any = None
    error: ErrorInfo | None = None

    @classmethod
    def of(cls, status: TaskStatus) -> "TaskView":
        """As far as it has come."""
        if status.result is not None:
            return cls.of_result(status.result)
        return cls(
            task=status.task,
            state=status.state,
            handler=status.address,
            attempts=status.attempts,
            waits=tuple(wait.kind.value for wait in status.waits),
        )

    @classmethod
    def of_result(cls, result: TaskResult) -> "TaskView":
        """How it ended."""
        return cls(
            task=result.task,
            state=result.state,
            handler=f"{result.agent}.{result.handler}" if result.agent else "",
            attempts=result.attempts,
            value=result.value,
            error=result.error,
        )

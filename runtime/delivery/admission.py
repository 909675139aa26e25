"""What to do with a leased message of a task, from what its journal says. Pure."""

from enum import StrEnum

from antiphon.runtime.delivery.history import History


class Admission(StrEnum):
    """The verdict on one delivery."""

    RUN = "run"  # this message owns the task: claim it and go on
    PARKED = "parked"  # it owns the task, which is parked: its ack was lost
    DUPLICATE = "duplicate"  # another message owns the task
    FOREIGN = "foreign"  # it owns the task, which other code began


def admit(history: History, *, origin: int, wake: int, version: str) -> Admission:
    """Whether the message ``origin`` (its sequence) may go on with the task.

    A task belongs to the message that began or last claimed it, until it parks; then to the wake-up with the number
    of that parking. After a redrive it belongs to whoever comes first.
    """
    mine = history.origin == origin
    if history.state:
        return Admission.DUPLICATE
    if history.is_parked and wake != history.number:
        return Admission.PARKED if mine else Admission.DUPLICATE
    if not history.is_parked and not mine and history.origin:
        return Admission.DUPLICATE
    return Admission.RUN if history.version in ("", version) else Admission.FOREIGN

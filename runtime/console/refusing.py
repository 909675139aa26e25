"""Errors of ours as what a page is told: whose mistake it was, and what to do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from antiphon.runtime import errors
from antiphon.runtime.console.asking import BadRequest

# The nearest class of an error's ancestry counts. Whoever asks for what cannot be is told so; 503 is worth another try.
_STATUS: Final[Mapping[type[errors.AntiphonError], int]] = MappingProxyType(
    {
        errors.AntiphonError: 422,
        errors.UnknownAgent: 404,
        errors.UnknownHandler: 404,
        errors.UnknownTask: 404,
        errors.UnknownLetter: 404,
        errors.UnknownApproval: 404,
        errors.AlreadyAnswered: 409,
        errors.InDoubt: 409,
        errors.Busy: 429,
        errors.MessageTooLarge: 413,
        errors.BusError: 503,
        errors.NodeStopping: 503,
        errors.DeadlineExceeded: 504,
    }
)


def refused(error: errors.AntiphonError) -> BadRequest:
    """The error as an answer, with its type and its own words."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return BadRequest(status, error.message, type(error).__name__)

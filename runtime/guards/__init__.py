"""What may pass: checks on what handlers, models and tools are given and give. ``docs/guards.md`` shows them."""

from antiphon.runtime.guards.expression import forbids, matches
from antiphon.runtime.guards.guard import Guard, Moment, Stage
from antiphon.runtime.guards.redaction import redacts
from antiphon.runtime.guards.shape import fits
from antiphon.runtime.guards.verifier import verified_by

__all__ = ["Guard", "Moment", "Stage", "fits", "forbids", "matches", "redacts", "verified_by"]

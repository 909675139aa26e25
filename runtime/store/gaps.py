"""Counting what never arrived: batch numbers that are missing, records a node had to drop."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class NodeHealth:
    """How completely one node's telemetry arrived. A restarted node counts on under its name."""

    node: str
    batches: int = 0  # stored, repeats not counted
    missing: int = 0  # batches whose number never came
    dropped: int = 0  # records the node threw away because its buffer was full
    sequence: int = 0  # the newest batch number of the present process
    reported: int = 0  # what that process has said it dropped so far
    last_ns: int = 0  # unix ns of arrival

    def arrive(self, *, sequence: int, dropped: int, redelivered: bool, now_ns: int) -> int:
        """Note a batch; how many before it are missing.

        A number not above the newest is a repeat if the stream says so, and otherwise a node that started
        again from 1.
        """
        self.last_ns = now_ns
        if sequence <= self.sequence:
            if redelivered:
                return 0
            self.sequence = self.reported = 0
        missing = sequence - self.sequence - 1
        self.sequence = sequence
        self.batches += 1
        self.missing += missing
        self.dropped += max(dropped - self.reported, 0)
        self.reported = max(dropped, self.reported)
        return missing

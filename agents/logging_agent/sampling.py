"""Which traces are analysed when more come than there is time for: a uniform sample of whole traces."""

S = 1_000_000_000
WIDEN = 1.25  # of the share, at most, from one second to the next: a lull between two bursts is not a quiet system
_ALL = 1 << 64


class Sampling:
    """Keeps the spans that are analysed below ``spans_per_s``, counted in seconds of arrival.

    A trace is in or out by its id alone, so all its spans fall on one side; W3C ids are random in their last 8 bytes.
    Where the share changes while a trace runs it may come in part: ``partial_since_ns`` says since when that can be.
    """

    def __init__(self, spans_per_s: int) -> None:
        self._budget = spans_per_s
        self._below = _ALL
        self._second_ns = 0
        self._spans = 0
        self.partial_since_ns: int | None = None

    @property
    def share(self) -> float:
        """Of traces that are analysed."""
        return self._below / _ALL

    def admits(self, trace_id: bytes) -> bool:
        """Whether the trace is analysed."""
        return self._below == _ALL or int.from_bytes(trace_id[-8:], "big") < self._below

    def note(self, spans: int, now_ns: int) -> None:
        """So many spans arrived, analysed or not."""
        self._spans += spans
        elapsed_ns = now_ns - self._second_ns
        if elapsed_ns < S:
            return
        if self._second_ns:
            rate = self._spans * S / elapsed_ns
            fits = _ALL if rate <= self._budget else int(_ALL * self._budget / rate)
            below = min(fits, int(self._below * WIDEN), _ALL)
            if below != self._below:
                self._below, self.partial_since_ns = below, now_ns
        self._second_ns, self._spans = now_ns, 0

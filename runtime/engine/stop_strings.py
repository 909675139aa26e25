"""Cutting the reply where a stop string begins, though it may come in pieces."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on, except what may be the beginning of a stop string. The first to be complete cuts.

    How the text is cut into pieces changes nothing (Knuth, Morris and Pratt's automaton: as much work for each
    character, however long the strings).
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [(stop, _borders(stop)) for stop in stops]
        self._matched = [0] * len(stops)  # characters of each stop string that the text ends with
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What is safe to show. After ``stopped`` is true: the text before the stop string, the last there is."""
        before = len(self._held)
        self._held += text
        for end, character in enumerate(text, before + 1):
            begins = [
                end - len(stop) for index, (stop, _) in enumerate(self._stops) if self._complete(index, character)
            ]
            if begins:
                self.stopped = True
                shown, self._held = self._held[: min(begins)], ""
                return shown
        safe = len(self._held) - max(self._matched, default=0)
        shown, self._held = self._held[:safe], self._held[safe:]
        return shown

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _complete(self, index: int, character: str) -> bool:
        """Whether ``character`` is the last of that stop string."""
        stop, borders = self._stops[index]
        matched = self._matched[index]
        while matched and stop[matched] != character:
            matched = borders[matched - 1]
        matched += stop[matched] == character
        self._matched[index] = matched
        return matched == len(stop)


def _borders(stop: str) -> list[int]:
    """For each beginning of ``stop``: the longest shorter beginning that is also its end."""
    borders = [0] * len(stop)
    matched = 0
    for end in range(1, len(stop)):
        while matched and stop[matched] != stop[end]:
            matched = borders[matched - 1]
        matched += stop[matched] == stop[end]
        borders[end] = matched
    return borders

"""LoadGen's own verdict and figures, read from the logs of a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BEGIN, _END = "Result is :", "======"  # around the verdict and its reasons


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``text`` is the verdict with its reasons in LoadGen's words, ``figures`` its numbers by LoadGen's names."""

    text: str
    figures: Mapping[str, float]

    @property
    def valid(self) -> bool:
        """Whether LoadGen accepts the run."""
        return self.text.splitlines()[0].split(":")[1].strip() == "VALID"

    def seconds(self, name: str) -> float:
        """A figure that LoadGen gives in nanoseconds."""
        return self.figures[f"{name} (ns)"] / 1e9


def read(folder: Path) -> Verdict:
    """The verdict of the run that logged into ``folder``.

    Raises:
        ValueError: the run left no verdict.
    """
    lines = (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8").splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith(_BEGIN)]
    if len(begins) != 1:
        raise ValueError(f"{folder}: found {len(begins)} verdicts in LoadGen's summary, expected 1")
    rest = lines[begins[0] :]
    ends = next(at for at, line in enumerate(rest) if line.startswith(_END))
    text = [line for line in rest[:ends] if line.strip()]
    return Verdict(text="\n".join([*text, *_errors(folder)]), figures=_figures(lines))


def _figures(lines: list[str]) -> dict[str, float]:
    found = {}
    for line in lines:
        name, _, value = line.rpartition(":")
        try:
            found[" ".join(name.split())] = float(value)
        except ValueError:  # words
            continue
    return found


def _errors(folder: Path) -> list[str]:
    """What the detailed log marks as an error."""
    with (folder / "mlperf_log_detail.txt").open(encoding="utf-8") as lines:
        entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
    return [f"Error logged: {entry['value'].strip()}" for entry in entries if entry["metadata"]["is_error"]]

"""The page about detectors, made of what each says of itself (``make docs``)."""

import importlib
import inspect
from pathlib import PurePath

from antiphon.agents.logging_agent.detectors.catalogue import catalogue

INTRODUCTION = """# Detectors

The logging agent reads the spans that nodes record and looks for the patterns below. Each detector is one file in
`agents/logging_agent/detectors/`, and rules decide everything: no model takes part. A detector sees every trace when
it is complete, and some see every span as it arrives. It notes its evidence by cohort, which is the set of runs of
one workflow, and it reports a finding when the evidence is new or says something else.

Below the required support a finding is a candidate. It names how many runs support it, and it claims no saving. With
enough support it is open, and it carries an estimate: a point and a 90 % interval, from replaying the recorded runs
with the remedy in place. A finding is only reported where the effect matters over the whole cohort. That means at
least 5 % of the latency and 50 ms, or at least 1 % of the tokens, of the model time or of the cost. Where the
unedited replay of a run misses the recorded latency by more than 5 %, nothing is estimated from that run.

What a detector remembers is bounded. What does not fit is dropped whole, so a limit may cause a missed finding and
never a false one. What the logging agent could not analyse it says in its log, at most once a minute
(`telemetry_missed`: traces dropped, batches that never came, spans that nodes dropped, and the share of traces that is
analysed).

This page is made of the docstrings of the detectors: `make docs` writes it anew.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return INTRODUCTION + "".join(map(_section, catalogue().values()))


def _section(kind: object) -> str:
    module = importlib.import_module(getattr(kind, "__module__", ""))
    title, _, text = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
    pattern, _, rest = title.partition(", ")
    name = rest.partition(":")[0]
    file = PurePath(str(module.__file__)).name
    return f"\n## {pattern}: {name}\n\nFile: `{file}`.\n\n{text}\n"


if __name__ == "__main__":
    print(page(), end="")

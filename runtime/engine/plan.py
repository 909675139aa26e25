"""One step of the engine as the scheduler decides it and as the runner answers it. Imports no torch."""

from dataclasses import dataclass, field

from antiphon.runtime.engine.request import Request, TokenLogprob


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence:
    """A request on its way: the ids so far, how many of them are computed, and the pages they lie in.

    ``tokens`` is the prompt and then what was sampled; ``computed`` of them have keys and values in ``pages``. While
    ``computed < len(tokens)`` there is something to compute; the last of it yields the next token.
    """

    request: Request
    tokens: list[int]
    computed: int = 0
    pages: list[int] = field(default_factory=list)
    cached: int = 0  # prompt tokens that were found in the prefix cache at first admission

    @property
    def output_tokens(self) -> int:
        """How many tokens were sampled."""
        return len(self.tokens) - len(self.request.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``count`` tokens of one sequence from position ``start``: known ids, then ``drafts``.

    ``samples``: the row reaches the end of the known ids, so its last ``1 + len(drafts)`` positions yield tokens.
    """

    sequence: Sequence
    start: int
    count: int
    drafts: tuple[int, ...] = ()
    samples: bool

    @property
    def ids(self) -> list[int]:
        """The row's token ids, [count]."""
        known = self.sequence.tokens[self.start : self.start + self.count - len(self.drafts)]
        return known + list(self.drafts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What one step computes. ``copies`` (from page, to page) are done before anything is written: copy-on-write.

    Rows with one token and no drafts that sample come first: the decodes.
    """

    rows: tuple[Row, ...]
    copies: tuple[tuple[int, int], ...] = ()

    @property
    def new_tokens(self) -> int:
        """Tokens that the step computes."""
        return sum(row.count for row in self.rows)

    @property
    def kv_tokens(self) -> int:
        """Keys and values that attention reads, in tokens."""
        return sum(row.start + row.count for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What one sampling row yielded: accepted drafts and then one more token, with log-probabilities if asked for."""

    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()

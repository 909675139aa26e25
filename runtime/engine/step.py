"""A plan in the making: its rows so far, and how many prompt tokens the time to the target still takes."""

from typing import Final

from antiphon.runtime.engine.cost import CostModel, Load, load_of
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.entry import Entry
from antiphon.runtime.engine.placement import INVARIANT_PAGES
from antiphon.runtime.engine.plan import Row, StepPlan

CHUNK_UNIT: Final = 32  # a prompt's chunks are multiples: whole tiles; but its last, and those of a few tokens
_FAR_TOO_LATE: Final = 1.5  # times the target
LONE_TOKENS: Final = 512  # of prompts in a step that keeps no next token waiting, where the target would give fewer
MOST_TOKENS: Final = 8192  # of prompts in any step: bounds the activations


class Step:
    """Rows, one for each entry; the target counts as soon as one is a decode."""

    def __init__(self, config: EngineConfig, cost: CostModel) -> None:
        self.rows: dict[Entry, Row] = {}
        self._invariant = config.batch_invariant
        self._whole = config.prefill == "first"
        self._cost = cost
        # Half the steps would end late if the prediction alone were to meet the target.
        self._target_s = config.itl_target_s / (1 + cost.error)
        self._decoding = False
        self._prompts: dict[Entry, int] = {}  # and the tokens of their chunks

    @property
    def open(self) -> bool:
        """Whether one more prompt can have a chunk."""
        return not self._prompts or self._most(0) >= CHUNK_UNIT

    def decode(self, entry: Entry, drafts: tuple[int, ...] = ()) -> None:
        """The next token of a sequence, and drafts to verify."""
        sequence = entry.sequence
        start = sequence.computed
        samples = start + 1 == len(sequence.tokens)
        self._decoding = True
        self.rows[entry] = Row(sequence=sequence, start=start, count=1 + len(drafts), drafts=drafts, samples=samples)

    def prompt(self, entry: Entry) -> bool:
        """As much of the rest of a sequence as fits; False if that is nothing."""
        count = self._chunk(entry)
        if count:
            sequence = entry.sequence
            start = sequence.computed
            samples = start + count == len(sequence.tokens)
            self.rows[entry] = Row(sequence=sequence, start=start, count=count, samples=samples)
            self._prompts[entry] = count
        return count > 0

    def drop(self, entry: Entry) -> None:
        """The request was put back."""
        self.rows.pop(entry, None)
        self._prompts.pop(entry, None)

    def plan(self) -> StepPlan | None:
        """The plan, None if there is nothing in it."""
        if not self.rows:
            return None
        decodes: list[Row] = []
        others: list[Row] = []
        for row in self.rows.values():
            (decodes if row.count == 1 and row.samples else others).append(row)
        copies = tuple(entry.copy for entry in self.rows if entry.copy is not None)
        return StepPlan(rows=(*decodes, *others), copies=copies)

    def _chunk(self, entry: Entry) -> int:
        """The first prompt of a step gets a chunk however late it is: prompts never stand still."""
        start, left = entry.sequence.computed, entry.left
        most = self._most(start)
        if self._invariant:
            # The same cuts alone and in company; what follows the prompt is computed by itself, token by token.
            prompt = len(entry.sequence.request.prompt) - start
            count = min(prompt, INVARIANT_PAGES * PAGE_TOKENS) if prompt > 0 else 1
            return count if count <= most or not self._prompts else 0
        if left <= most:
            return left
        if most >= CHUNK_UNIT or self._prompts:
            return most // CHUNK_UNIT * CHUNK_UNIT
        return min(left, self._late(start))

    def _late(self, start: int) -> int:
        """The chunk where not even CHUNK_UNIT tokens end in time: these, if they are not far too late, else as many as
        are computed like decodes, if that is in time. On two cores without bfloat16 30 tokens beside two decodes take
        six times as long as the decodes alone, and 6 tokens take twice as long."""
        load = load_of(self.rows.values())
        if self._cost.predict(load.with_row(start, CHUNK_UNIT)) > _FAR_TOO_LATE * self._target_s:
            return self._cost.few_in_time(load, start, self._target_s) or CHUNK_UNIT
        return CHUNK_UNIT

    def _most(self, start: int) -> int:
        """Prompt tokens that the step can still take."""
        taken = sum(self._prompts.values())
        if self._whole:
            return MOST_TOKENS - taken
        if self._decoding:
            in_time = self._cost.largest_chunk(load_of(self.rows.values()), start, self._target_s)
        else:
            in_time = max(self._cost.largest_chunk(Load(), start, self._target_s), LONE_TOKENS) - taken
        return max(0, min(in_time, MOST_TOKENS - taken))

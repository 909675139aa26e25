"""Drafts of the next tokens from what was said before, where guessing pays. Imports no torch."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from antiphon.runtime.engine.cost import Load
from antiphon.runtime.engine.plan import Sequence as Running
from antiphon.runtime.engine.token_history import KEY_TOKENS, LONGEST_MATCH, TokenHistory

_MOST_TOKENS = 65_536  # of a request, or of an agent's replies; two megabytes with their index
_AGENTS = 32
# How long a match was says how far to trust it: tried apart, from 3, 5 and 9 tokens on; last, what a grammar forces.
_LENGTHS = (KEY_TOKENS, 5, 9)
_FORCED = len(_LENGTHS)
_MEMORY = 0.97  # weight of what was known at each new trial: some thirty trials count


@dataclass(slots=True)
class _Rate:
    """Of the tokens tried, how many were right; old ones fade."""

    right: float = 1.5
    tried: float = 2.0

    def update(self, right: int, wrong: int) -> None:
        fading = _MEMORY ** (right + wrong)
        self.right = self.right * fading + right
        self.tried = self.tried * fading + right + wrong

    @property
    def value(self) -> float:
        return self.right / self.tried


@dataclass(slots=True)
class _Agent:
    replies: TokenHistory | None = None  # from the first finished reply on
    rates: tuple[_Rate, ...] = field(default_factory=lambda: tuple(_Rate() for _ in range(_FORCED + 1)))


@dataclass(slots=True)
class _Request:
    history: TokenHistory
    source: int = 0  # which rate the last drafts are counted in
    untried: tuple[int, int] | None = None  # (index, token) of a draft that was not worth a try


@dataclass(frozen=True, kw_only=True)
class SpeculationCounts:
    """Draft tokens since the start: computed, found right, and proposals that were not worth it."""

    drafted: int = 0
    accepted: int = 0
    declined: int = 0


class Speculator:
    """Proposes what a request said before in this place, or what its agent did; never across tenants.

    Drafts are declined where they would slow the batch: ``predict`` gives the seconds of a step, and an agent's past
    says how many of its drafts to expect right. A declined draft is still compared with what came, so an agent that
    begins to repeat itself is noticed at no cost. Used by one thread.
    """

    def __init__(self, predict: Callable[[Load], float], context_tokens: int) -> None:
        self._predict = predict
        self._context_tokens = context_tokens
        self._agents: OrderedDict[tuple[str, str | None], _Agent] = OrderedDict()
        self._requests: dict[str, _Request] = {}
        self._drafted = self._accepted = self._declined = 0

    @property
    def counts(self) -> SpeculationCounts:
        """What came of it so far."""
        return SpeculationCounts(drafted=self._drafted, accepted=self._accepted, declined=self._declined)

    def propose(
        self, sequence: Running, most: int, *, rows: int, kv_tokens: int, forced: Sequence[int] = ()
    ) -> tuple[int, ...]:
        """At most ``most`` tokens that probably come next, as many as shorten the time per token; often none.

        The step has ``rows`` decodes, this one too, that read ``kv_tokens``. ``forced`` are tokens a grammar leaves no
        choice about.
        """
        request, agent = self._request(sequence), self._agent(sequence)
        tokens = sequence.tokens
        self._learn(request, agent, tokens)
        suffix = [*tokens[-LONGEST_MATCH:], *forced]
        place, length = request.history.match(suffix) if not forced else (0, 0)
        found = request.history.following(place, most) if length else []
        if agent.replies is not None:
            place, longer = agent.replies.match(suffix)
            if longer > length:
                length, found = longer, agent.replies.following(place, most - len(forced))
        drafts = [*forced, *found][:most]
        if not drafts:
            return ()
        request.source = _FORCED if forced else sum(length >= least for least in _LENGTHS) - 1
        start = len(tokens) - 1
        others = Load(decodes=rows - 1, decode_keys=max(0, kv_tokens - start - 1))
        count = self._worthwhile(agent.rates[request.source].value, len(drafts), others, start)
        if count == 0:
            self._declined += 1
            request.untried = len(tokens), drafts[0]
        return tuple(drafts[:count])

    def observe(self, sequence: Running, drafted: int, accepted: int) -> None:
        """Of the last ``drafted`` tokens proposed, the first ``accepted`` were right."""
        self._drafted += drafted
        self._accepted += accepted
        rates = self._agent(sequence).rates
        rates[self._request(sequence).source].update(accepted, int(accepted < drafted))

    def finished(self, sequence: Running) -> None:
        """The request is over, however: its reply joins its agent's."""
        self._requests.pop(sequence.request.id, None)
        if sequence.request.agent is None or not sequence.output_tokens:
            return
        agent = self._agent(sequence)
        if agent.replies is None:
            agent.replies = TokenHistory(_MOST_TOKENS)
        agent.replies.extend(sequence.tokens[len(sequence.request.prompt) :][-_MOST_TOKENS:])
        agent.replies.end_text()

    def _learn(self, request: _Request, agent: _Agent, tokens: list[int]) -> None:
        if request.untried is not None:
            index, token = request.untried
            if index < len(tokens):
                right = tokens[index] == token
                agent.rates[request.source].update(right, not right)
            request.untried = None
        request.history.extend(tokens[request.history.end :])

    def _worthwhile(self, rate: float, most: int, others: Load, start: int) -> int:
        """The number of drafts that yields most: what they add, against what every row of the batch waits longer.

        With d drafts of which each is right with probability p if all before it are, 1 + p + … + p^d tokens come out.
        """
        plain_s = self._predict(others.with_row(start, 1))
        best, best_count = 0.0, 0
        expected = 0.0
        for count in range(1, most + 1):
            expected += rate**count
            longer_s = self._predict(others.with_row(start, 1 + count)) - plain_s
            gain = expected * plain_s - (others.decodes + 1) * longer_s
            if gain > best:
                best, best_count = gain, count
        return best_count

    def _request(self, sequence: Running) -> _Request:
        known = self._requests.get(sequence.request.id)
        if known is None:
            asked = len(sequence.request.prompt) + sequence.request.sampling.max_tokens
            longest = min(asked, self._context_tokens, _MOST_TOKENS)
            known = self._requests[sequence.request.id] = _Request(TokenHistory(1 << (longest - 1).bit_length()))
        return known

    def _agent(self, sequence: Running) -> _Agent:
        key = (sequence.request.tenant, sequence.request.agent)
        known = self._agents.get(key)
        if known is None:
            known = self._agents[key] = _Agent()
            if len(self._agents) > _AGENTS:
                self._agents.popitem(last=False)
        self._agents.move_to_end(key)
        return known

"""How long a step takes, learned while it runs.

The time of a step is ``a + b * decodes + c * keys they read + d * prompt tokens + e * pairs of a prompt token and a
key``, with one set of coefficients for steps of up to eight tokens and one for all others. A decode costs more than a
prompt token by its scores and their sampling. One line for both does not hold on a CPU:
few rows are multiplied with the weights' 4-bit codes, where a row costs several times what it does in a larger product
(linear.DECODE_ROWS), and near the bend it would be off by half of a step.

Least squares with exponential forgetting, in information form and tied loosely to the last solution: what the recent
steps do not tell apart (decodes alone say nothing of the slope of prompts) stays as it was known, where the recursion
on the covariance would wind up (Åström and Wittenmark, Adaptive Control, 11.5).
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from antiphon.runtime.engine.plan import Row

_FEW: Final = 8  # tokens
_KEEP: Final = 0.97  # of an observation's weight at the next one: a memory of about 30 steps
_TIE: Final = 1e-3  # weight of the last solution, in observations
_LEAST: Final = 1e-6  # of a coefficient's prior: nothing is free, so that nothing is divided by 0
_SHORTEST_S: Final = 1e-6  # no step is shorter
_ROUNDING: Final = 1e-9  # added to the diagonal, relative: pivots stay positive
_ENOUGH: Final = 8  # observations
# Seconds: a model of 135M weights on two cores. Another machine's first steps set them right.
_FEW_PRIOR: Final = (4e-3, 3e-3, 1.5e-6, 3e-3, 5e-7)
_MANY_PRIOR: Final = (2e-2, 1e-3, 1.5e-6, 7e-4, 5e-7)
_TYPICAL_ROWS: Final = 16  # a batch, a context and a chunk to state weights and capacities for
_TYPICAL_CONTEXT: Final = 512
_TYPICAL_CHUNK: Final = 512


class Load(NamedTuple):
    """What a step computes, as the model sees it."""

    decodes: int = 0  # rows of one token
    decode_keys: int = 0
    prompt_tokens: int = 0  # tokens of all other rows
    prompt_pairs: float = 0.0

    def with_row(self, start: int, count: int) -> "Load":
        """With one more row of ``count`` tokens from position ``start``."""
        if count == 1:
            return self._replace(decodes=self.decodes + 1, decode_keys=self.decode_keys + start + 1)
        pairs = self.prompt_pairs + count * (start + count / 2)
        return self._replace(prompt_tokens=self.prompt_tokens + count, prompt_pairs=pairs)


def load_of(rows: Iterable[Row]) -> Load:
    """The load of a plan's rows."""
    decodes = keys = tokens = 0
    pairs = 0.0
    for row in rows:
        if row.count == 1:
            decodes += 1
            keys += row.start + 1
        else:
            tokens += row.count
            pairs += row.count * (row.start + row.count / 2)
    return Load(decodes, keys, tokens, pairs)


class CostModel:
    """Predicts a step's seconds from its load; learns from each step."""

    def __init__(self) -> None:
        self._few = _Fit(_FEW_PRIOR)
        self._many = _Fit(_MANY_PRIOR)
        self.error = 0.1  # mean of |measured / predicted - 1|, the latest weighing most

    @property
    def fitted(self) -> bool:
        """Whether larger steps have been seen often enough to say what the machine can do."""
        return self._many.observations >= _ENOUGH

    def predict(self, load: Load) -> float:
        """Seconds of a step."""
        return self._fit(load).at(_features(load))

    def observe(self, load: Load, elapsed_s: float) -> None:
        """A step took ``elapsed_s``. A stalled step has little weight, a machine that stays slower is learned."""
        predicted_s = self.predict(load)
        self.error += 0.05 * (min(1.0, abs(elapsed_s / predicted_s - 1)) - self.error)
        self._fit(load).add(_features(load), elapsed_s, predicted_s)

    def largest_chunk(self, load: Load, start: int, target_s: float) -> int:
        """How many tokens from position ``start`` a step of ``load`` can take in addition and still end in time."""
        _, _, _, slope, pair = self._many.coefficients
        left_s = target_s - self._many.at(_features(load))
        if left_s <= 0:
            return 0
        linear, square = slope + pair * start, pair / 2
        # The root of square n² + linear n = left, in the form that stays exact as square goes to 0.
        return int(2 * left_s / (linear + (linear * linear + 4 * square * left_s) ** 0.5))

    def few_in_time(self, load: Load, start: int, target_s: float) -> int:
        """How many tokens from position ``start`` a step of ``load`` can take in addition, end in time and still be one
        of few tokens; 0: none, or a single one, which would be as dear as a decode."""
        most = _FEW - load.decodes - load.prompt_tokens
        return next((n for n in range(most, 1, -1) if self.predict(load.with_row(start, n)) <= target_s), 0)

    def recompute_s(self, tokens: int) -> float:
        """Seconds to compute a prompt of ``tokens`` alone, in chunks of 512."""
        fixed, _, _, slope, pair = self._many.coefficients
        return -(-tokens // _TYPICAL_CHUNK) * fixed + tokens * slope + tokens * tokens / 2 * pair

    @property
    def token_s(self) -> float:
        """Seconds of a weighted token: a token's share of a prompt chunk of 512."""
        return self.recompute_s(_TYPICAL_CHUNK) / _TYPICAL_CHUNK

    @property
    def output_weight(self) -> float:
        """What an output token costs in prompt tokens: a row's share of a step of 16 decodes at 512 keys each, over a
        token's share of a chunk of 512."""
        step_s = self.predict(Load(_TYPICAL_ROWS, _TYPICAL_ROWS * _TYPICAL_CONTEXT))
        return max(1.0, step_s / _TYPICAL_ROWS / self.token_s)

    def _fit(self, load: Load) -> "_Fit":
        return self._few if load.decodes + load.prompt_tokens <= _FEW else self._many


_Five = tuple[float, float, float, float, float]


def _features(load: Load) -> _Five:
    return 1.0, *load


class _Fit:
    """Five coefficients above 0. Sums are kept in units of the prior, so that all of them are of one size."""

    def __init__(self, prior: _Five) -> None:
        self._prior = prior
        self._squares = [[0.0] * 5 for _ in prior]
        self._products = [0.0] * 5
        self._solution = [1.0] * 5
        self._pace = 1.0  # steps take so many times what the prior says
        self.coefficients = prior
        self.observations = 0

    def at(self, features: _Five) -> float:
        fixed, row, key, token, pair = self.coefficients
        one, rows, keys, tokens, pairs = features
        return fixed * one + row * rows + key * keys + token * tokens + pair * pairs

    def add(self, features: _Five, elapsed_s: float, predicted_s: float) -> None:
        """Errors count relative to the larger of measured and predicted: a step a hundred times too long, as on a
        machine that stalls, pulls like one that is 1 % off."""
        scale_s = max(predicted_s, elapsed_s, _SHORTEST_S)
        units = [feature * prior for feature, prior in zip(features, self._prior, strict=True)]
        share = 0.1 if self.observations else 1.0
        self._pace += share * (scale_s / sum(units) - self._pace)
        self.observations += 1
        target = elapsed_s / scale_s
        for row, unit in enumerate(units):
            value = unit / scale_s
            squares = self._squares[row]
            for column, other in enumerate(units):
                squares[column] = _KEEP * squares[column] + value * other / scale_s
            self._products[row] = _KEEP * self._products[row] + value * target
        self._solution = _positive(self._squares, self._products, self._solution, _TIE / self._pace**2)
        solved = (value * prior for value, prior in zip(self._solution, self._prior, strict=True))
        fixed, row_s, key, token, pair = solved
        self.coefficients = fixed, row_s, key, token, pair


def _positive(squares: list[list[float]], products: list[float], last: list[float], tie: float) -> list[float]:
    """The least-squares solution tied to the last one, dropping the most negative coefficient until none is."""
    active = list(range(len(last)))
    while True:
        matrix = [
            [squares[row][column] * (1 + _ROUNDING * (row == column)) + tie * (row == column) for column in active]
            + [products[row] + tie * last[row]]
            for row in active
        ]
        found = _solve(matrix)
        worst = min(range(len(found)), key=found.__getitem__)
        if found[worst] >= 0 or len(active) == 1:
            break
        del active[worst]
    solution = [_LEAST] * len(last)
    for at, value in zip(active, found, strict=True):
        solution[at] = max(value, _LEAST)
    return solution


def _solve(matrix: list[list[float]]) -> list[float]:
    """Gauss-Jordan on equations with a positive definite matrix, whose pivots are positive."""
    for pivot in range(len(matrix)):
        scale = matrix[pivot][pivot]
        first = matrix[pivot] = [value / scale for value in matrix[pivot]]
        for row, values in enumerate(matrix):
            if row != pivot and values[pivot]:
                factor = values[pivot]
                matrix[row] = [value - factor * other for value, other in zip(values, first, strict=True)]
    return [values[-1] for values in matrix]

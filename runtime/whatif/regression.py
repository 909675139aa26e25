"""Robust linear regression with coefficients of at least zero, in plain Python."""

from collections.abc import Sequence
from operator import mul

ROUNDS = 30
TOLERATED = 2.0  # medians: a miss up to here counts by its square, a larger one by its size (1.345 standard deviations)
SMALLEST = 1e-3  # misses below are equal


def fit_line(rows: Sequence[tuple[float, ...]], values: Sequence[float]) -> list[float]:
    """Coefficients, none below zero, that make relative misses small, a few large ones tolerated.

    Huber's estimator by iteratively reweighted least squares (Holland and Welsch 1977). A column that adds nothing,
    because it never varies or would need a negative coefficient, gets zero.
    """
    columns = list(range(len(rows[0])))
    while True:
        found = _reweighted([[row[c] for c in columns] for row in rows], values)
        worst = min(range(len(columns)), key=found.__getitem__)
        if found[worst] >= 0 or len(columns) == 1:
            break
        del columns[worst]
    result = [0.0] * len(rows[0])
    for column, value in zip(columns, found, strict=True):
        result[column] = max(value, 0.0)
    return result


def _reweighted(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    scales = [max(map(abs, column)) or 1.0 for column in zip(*rows, strict=True)]
    columns = [[x / scale for x in column] for column, scale in zip(zip(*rows, strict=True), scales, strict=True)]
    least = 0.1 * _median(values)
    sizes = [max(value, least, 1e-12) for value in values]
    weights = [1.0 / size**2 for size in sizes]
    found: list[float] = []
    for _ in range(ROUNDS):
        before, found = found, _least_squares(columns, values, weights)
        if before and all(abs(a - b) <= 1e-4 * abs(b) for a, b in zip(before, found, strict=True)):
            break
        fitted = [0.0] * len(values)
        for coefficient, column in zip(found, columns, strict=True):
            fitted = [f + coefficient * x for f, x in zip(fitted, column, strict=True)]
        # A call that took a hundredth of what it should would count for more than all others, if its own time
        # were what its miss is compared with.
        sizes = [max(v, f, 1e-12) for v, f in zip(values, fitted, strict=True)]
        misses = [abs(v - f) / size for v, f, size in zip(values, fitted, sizes, strict=True)]
        limit = max(TOLERATED * _median(misses), SMALLEST)
        weights = [min(1.0, limit / max(m, SMALLEST)) / size**2 for m, size in zip(misses, sizes, strict=True)]
    return [coefficient / scale for coefficient, scale in zip(found, scales, strict=True)]


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _least_squares(
    columns: Sequence[Sequence[float]], values: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Normal equations by Gauss and Jordan on scaled columns; a dependent column gets zero."""
    size = len(columns)
    matrix = [[0.0] * (size + 1) for _ in range(size)]
    for i, column in enumerate(columns):
        weighted = list(map(mul, weights, column))
        for j in range(i, size):
            matrix[i][j] = matrix[j][i] = sum(map(mul, weighted, columns[j]))
        matrix[i][size] = sum(map(mul, weighted, values))
    largest = [matrix[i][i] for i in range(size)]
    kept: list[int] = []
    for i in range(size):
        if matrix[i][i] <= 1e-9 * largest[i]:
            continue
        kept.append(i)
        pivot = matrix[i][i]
        matrix[i] = [x / pivot for x in matrix[i]]
        for j in range(size):
            if j != i and matrix[j][i]:
                factor = matrix[j][i]
                matrix[j] = [x - factor * y for x, y in zip(matrix[j], matrix[i], strict=True)]
    return [matrix[i][size] if i in kept else 0.0 for i in range(size)]

"""Two distributions as an SVG picture: the share of runs that took at most so long."""

from collections.abc import Sequence

from antiphon.runtime.console.terminal import duration

_WIDTH, _HEIGHT, _LEFT, _EDGE = 640, 320, 48, 32  # pixels


def svg(before: Sequence[float], after: Sequence[float]) -> str:
    """Cumulative curves of seconds before (grey) and after (blue)."""
    longest = max(*before, *after) or 1.0
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for quarter in range(5):
        y, x = _y(quarter / 4), _x(quarter / 4)
        lines.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _EDGE}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{quarter * 25} %</text>')
        label = duration(longest * quarter / 4) if quarter else "0"
        lines.append(f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{label}</text>')
    for name, values, colour, row in (("before", before, "#888", 0), ("after", after, "#06c", 1)):
        lines.append(f'<path d="{_steps(sorted(values), longest)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<text x="{_LEFT + 8}" y="{_EDGE + 14 + 16 * row}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _steps(ordered: Sequence[float], longest: float) -> str:
    path = [f"M{_x(0):.1f} {_y(0):.1f}"]
    for index, value in enumerate(ordered, 1):
        path.append(f"H{_x(max(value, 0) / longest):.1f}V{_y(index / len(ordered)):.1f}")
    return "".join([*path, f"H{_x(1):.1f}"])


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _EDGE)


def _y(share: float) -> float:
    return _HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE)

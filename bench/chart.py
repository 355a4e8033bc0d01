"""One SVG of the results: figures that have a peer as bars on a scale of ratios, and the curves below."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from bench.results import Results
from bench.rows import Result, Summary

OURS, PEER, FAINT, INK = "#1f6fb2", "#d9822b", "#c8ccd0", "#24292f"
GOOD, BAD = "#2e7d32", "#c62828"
WIDTH, LABELS, LINE, PANEL_HEIGHT = 1060, 470, 18, 230
DECADES = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

Scale = Callable[[float], float]
Curve = list[Result]  # by `at`, ascending


def chart(results: Results) -> str:
    bars = [row for _, row in results.rows() if row.ratio and row.at is None and row.unit != "%"]
    curves = _curves(results.rows())
    body: list[str] = []
    bottom = 10.0
    if bars:
        body += _bars(bars, bottom)
        bottom += LINE * len(bars) + 70
    for at, curve in enumerate(curves):
        column, line = at % 3, at // 3
        body += _panel(curve, 10 + column * (WIDTH - 20) / 3, bottom + line * PANEL_HEIGHT)
    bottom += math.ceil(len(curves) / 3) * PANEL_HEIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom:.0f}" '
        f'viewBox="0 0 {WIDTH} {bottom:.0f}" font-family="sans-serif" font-size="12" fill="{INK}">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>"]) + "\n"


def log_scale(low: float, high: float, start: float, end: float) -> Scale:
    """Values on a logarithmic axis to pixels; what is outside lands on the rim."""
    span = math.log(high / low) or 1.0

    def place(value: float) -> float:
        held = min(max(value, low), high)
        return start + (end - start) * math.log(held / low) / span

    return place


def _bars(rows: Sequence[Result], top: float) -> Iterator[str]:
    """From the line of 1 to the left: smaller than docker-proxy; to the right: larger."""
    place = log_scale(DECADES[0], DECADES[-1], LABELS, WIDTH - 60)
    first = top + 46
    bottom = first + LINE * len(rows)
    yield _text(10, top + 12, "ours / docker-proxy", "font-weight='bold'")
    yield _text(
        10,
        top + 28,
        "green: target met, red: missed, blue: no target; black tick: the target. Of rates, more is better.",
        "font-size='11'",
    )
    for tick in DECADES:
        yield _line(place(tick), first - 4, place(tick), bottom, INK if tick == 1 else FAINT)
        yield _text(place(tick), first - 8, f"{tick:g}", "text-anchor='middle' font-size='10'")
    for at, row in enumerate(rows):
        y = first + LINE * at
        assert row.ratio
        color = {None: OURS, True: GOOD, False: BAD}[row.met]
        left, right = sorted((place(1), place(row.ratio)))
        yield _text(LABELS - 8, y + 12, row.title, "text-anchor='end' font-size='11'")
        width = max(right - left, 1)
        yield f'<rect x="{left:.1f}" y="{y + 2}" width="{width:.1f}" height="12" fill="{color}"/>'
        if row.target is not None and row.target.times:
            goal = place(row.target.bound)
            yield _line(goal, y, goal, y + LINE - 2, "black", 2)
        yield _text(WIDTH - 52, y + 12, f"{row.ratio:.2f} ×", "font-size='11'")


def _curves(rows: Iterable[tuple[str, Result]]) -> list[Curve]:
    found: dict[tuple[str, str], Curve] = {}
    for part, row in rows:
        if row.at is not None:
            found.setdefault((part, row.what), []).append(row)
    return [sorted(curve, key=lambda row: row.at or 0) for curve in found.values() if len(curve) > 1]


def _panel(curve: Curve, left: float, top: float) -> Iterator[str]:
    """Both axes logarithmic: what grows linearly is parallel to the dashed line."""
    values = [value for row in curve for value in (_median(row.ours), _median(row.peer)) if value]
    if not values:
        return
    xs = [max(row.at or 1, 1) for row in curve]
    low, high = min(values) / 1.5, max(values) * 1.5
    across = log_scale(xs[0], xs[-1], left + 48, left + (WIDTH - 20) / 3 - 14)
    up = log_scale(low, high, top + PANEL_HEIGHT - 38, top + 34)
    yield _text(left + 4, top + 14, curve[0].what, "font-weight='bold' font-size='11'")
    for x in xs:
        yield _line(across(x), up(low), across(x), up(high), FAINT)
        yield _text(across(x), up(low) + 14, f"{x:,}", "text-anchor='middle' font-size='10'")
    yield _text(
        across(math.sqrt(xs[0] * xs[-1])), up(low) + 28, curve[0].axis, "text-anchor='middle' font-size='10'"
    )
    for value in _round_values(low, high):
        yield _line(across(xs[0]), up(value), across(xs[-1]), up(value), FAINT)
        yield _text(left + 44, up(value) + 4, f"{value:g}", "text-anchor='end' font-size='10'")
    yield _text(left + 44, up(high) - 6, curve[0].unit, "text-anchor='end' font-size='10'")
    if start := _median(curve[-1].ours):  # linear growth, to where the curve ends
        points = [(across(x), up(start * x / xs[-1])) for x in xs if low <= start * x / xs[-1] <= high]
        yield _path(points, INK, "stroke-dasharray='3 4' stroke-opacity='0.5'")
    upper = "peer" if _median(curve[-1].peer) > _median(curve[-1].ours) else "ours"
    for color, name, pick in ((PEER, "docker-proxy", "peer"), (OURS, "ours", "ours")):
        points = [
            (across(x), up(value))
            for x, row in zip(xs, curve, strict=True)
            if (value := _median(getattr(row, pick)))
        ]
        if points:
            yield _path(points, color, "stroke-width='2'")
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points)
            yield _text(
                points[-1][0] - 6,
                points[-1][1] + (-7 if upper == pick else 15),
                name,
                f"text-anchor='end' font-size='10' style='fill:{color}'",
            )


def _round_values(low: float, high: float) -> list[float]:
    """The powers of ten in between, and 2 and 5 times them where those are few."""
    powers = [
        10.0**exponent for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ]
    inside = [value for value in powers if low <= value <= high]
    if len(inside) >= 2:
        return inside
    return [step * value for value in powers for step in (1, 2, 5) if low <= step * value <= high]


def _median(seen: Summary | None) -> float:
    """0 for what a logarithmic axis cannot show."""
    return 0.0 if seen is None else max(seen.median, 0.0)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{color}" stroke-width="{width}"/>'
    )


def _path(points: Sequence[tuple[float, float]], color: str, more: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{color}" {more}/>'

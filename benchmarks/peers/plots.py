"""Plots as SVG: bars for the peers, lines for growth. Nothing is loaded, nothing moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 720
_LEFT, _RIGHT, _TOP = 150, 110, 34
_BAR, _GAP = 15, 6
_COLOURS = {
    "ours": "#0b7285",
    "variant": "#3bc9db",
    "peer": "#868e96",
    "floor": "#ced4da",
    "carried": "#e9ecef",
}
_LOG_FROM = 30
"""From this spread on a linear axis would show one bar and hairs."""
_INK, _FAINT = "#212529", "#dee2e6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One peer's figure."""

    name: str
    kind: str
    value: float
    low: float
    high: float


def bars(title: str, unit: str, found: Sequence[Bar], *, more_is_better: bool) -> str:
    """Return horizontal bars, the best first, with the quartiles as whiskers."""
    ordered = sorted(found, key=lambda bar: bar.value, reverse=more_is_better)
    least = min((bar.value for bar in ordered if bar.value > 0), default=1.0)
    most = max(bar.value for bar in ordered) or 1.0
    logarithmic = most / least > _LOG_FROM
    start = 10 ** math.floor(math.log10(least / 1.5)) if logarithmic else 0.0
    span = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        if logarithmic:
            part = math.log(max(value, start) / start) / math.log(most / start)
        else:
            part = value / most
        return _LEFT + span * min(1.0, part)

    height = _TOP + len(ordered) * (_BAR + _GAP) + 8
    better = "more is better" if more_is_better else "less is better"
    scale = ", logarithmic" if logarithmic else ""
    parts = [_text(8, 18, f"{title} ({unit}{scale}; {better})", weight="bold")]
    for number, bar in enumerate(ordered):
        y = _TOP + number * (_BAR + _GAP)
        middle = y + _BAR / 2
        parts += [
            _text(_LEFT - 8, y + 12, bar.name, anchor="end", weight=_weight(bar)),
            (
                f'<rect x="{_LEFT}" y="{y}" width="{max(1.0, x(bar.value) - _LEFT):.1f}" '
                f'height="{_BAR}" fill="{_COLOURS[bar.kind]}"/>'
            ),
            f'<path d="M{x(bar.low):.1f} {middle}H{x(bar.high):.1f}" stroke="{_INK}"/>',
            _text(max(x(bar.value), x(bar.high)) + 6, y + 12, number_of(bar.value)),
        ]
    return _svg(_WIDTH, height, title, parts)


def line(title: str, unit: str, along: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a line over a logarithmic axis of counts; the other axis begins at nothing."""
    width, height, left, bottom = 480, 230, 56, 40
    low, high = points[0][0], points[-1][0]
    most = max(value for _, value in points) * 1.2

    def place(count: float, value: float) -> tuple[float, float]:
        part = math.log(count / low) / math.log(high / low)
        return left + part * (width - left - 24), height - bottom - value / most * (
            height - bottom - 34
        )

    parts = [_text(8, 18, f"{title} ({unit})", weight="bold")]
    for step in range(5):
        _, y = place(low, most / 1.2 * step / 4)
        parts += [
            f'<path d="M{left} {y:.1f}H{width - 24}" stroke="{_FAINT}"/>',
            _text(left - 6, y + 4, number_of(most / 1.2 * step / 4), anchor="end"),
        ]
    drawn = [place(count, value) for count, value in points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
    parts.append(f'<path d="M{path}" fill="none" stroke="{_COLOURS["ours"]}" stroke-width="2"/>')
    parts += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS["ours"]}"/>' for x, y in drawn
    ]
    shown = {1.0, 10.0, 100.0, 1000.0, 10_000.0, high}
    parts += [
        _text(place(count, 0)[0], height - bottom + 16, f"{count:,.0f}", anchor="middle")
        for count in sorted(shown)
        if low <= count <= high and (count == high or count <= high / 1.9)
    ]
    parts.append(_text(width / 2, height - 8, along, anchor="middle"))
    return _svg(width, height, title, parts)


def number_of(value: float) -> str:
    """Return a figure with three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"


def _weight(bar: Bar) -> str:
    return "bold" if bar.kind in ("ours", "variant") and "fumehood" in bar.name else "normal"


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{_INK}">{escape(words)}</text>'
    )


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    lines = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="12">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{lines}\n</svg>\n'
    )

"""A waterfall plot of one decision as SVG: from the average applicant to this one, feature by feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

_WIDTH, _LABELS, _MARGIN = 920, 350, 28
_HEADER, _ROW, _BAR, _AXIS = 92, 34, 20, 62
_INK, _MUTED, _GRID, _PAPER = "#1c2733", "#64707d", "#e4e8ec", "#ffffff"
_RAISES, _LOWERS = "#c8443a", "#2f7bb5"
_LONGEST_LABEL = 48


@dataclass(frozen=True, slots=True)
class Step:
    """One bar: what it stands for, and its SHAP value in log-odds."""

    label: str
    contribution: float


def waterfall(steps: Sequence[Step], base_value: float, *, title: str, subtitle: str = "", shown: int = 10) -> str:
    """The plot as an SVG document. All text is escaped; there are no scripts, links or fonts to load.

    Args:
        steps: One for each feature.
        base_value: Margin of the average applicant, log-odds; with the contributions it sums to this one's.
        title: First line.
        subtitle: Second line.
        shown: Bars at the most; the weakest features are drawn as one.
    """
    bars = _strongest(steps, shown)
    levels = np.concatenate([[base_value], base_value + np.cumsum([bar.contribution for bar in bars])])
    left, right = _MARGIN + _LABELS, _WIDTH - _MARGIN
    low, high = float(levels.min()), float(levels.max())
    padding = max(high - low, 0.1) * 0.14
    low, high = low - padding, high + padding
    bottom = _HEADER + _ROW * (len(bars) + 2)

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    parts = [_text(_MARGIN, 36, title, size=19, weight=600)]
    parts.append(_text(_MARGIN, 60, subtitle, size=13, fill=_MUTED))
    for tick in _ticks(low, high):
        parts.append(_line(x(tick), _HEADER - 8, x(tick), bottom, _GRID))
        parts.append(_text(x(tick), bottom + 18, f"{tick:g}".replace("-", "−"), size=11, fill=_MUTED, anchor="middle"))
    parts.append(
        _text((left + right) / 2, bottom + 40, "risk of default, log-odds", size=12, fill=_MUTED, anchor="middle")
    )
    parts += _key(_MARGIN, bottom + 40)
    parts += _level(0, "Average applicant", base_value, x)
    for row, (bar, start, end) in enumerate(zip(bars, levels[:-1], levels[1:], strict=True), start=1):
        parts += _bar(row, bar, x(float(start)), x(float(end)))
    parts += _level(len(bars) + 1, "This application", float(levels[-1]), x)
    height = bottom + _AXIS
    described = _escape(f"{title}. {subtitle}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="Inter, Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif">'
        f'<title>{described}</title><rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>{"".join(parts)}</svg>\n'
    )


def _strongest(steps: Sequence[Step], shown: int) -> list[Step]:
    """The strongest first; from `shown` on they are one step."""
    ordered = sorted(steps, key=lambda step: -abs(step.contribution))
    if len(ordered) <= shown:
        return ordered
    rest = ordered[shown - 1 :]
    return [*ordered[: shown - 1], Step(f"{len(rest)} other features", sum(step.contribution for step in rest))]


def _bar(row: int, bar: Step, start: float, end: float) -> list[str]:
    top = _HEADER + _ROW * row + (_ROW - _BAR) / 2
    middle = top + _BAR / 2
    raises = bar.contribution >= 0
    colour = _RAISES if raises else _LOWERS
    left, width = min(start, end), max(abs(end - start), 1.5)
    label = bar.label if len(bar.label) <= _LONGEST_LABEL else f"{bar.label[: _LONGEST_LABEL - 1]}…"
    return [
        _text(_MARGIN + _LABELS - 16, middle + 4.5, label, size=13, anchor="end"),
        _line(end, top, end, top + _ROW + _BAR / 2, "#b9c1c9"),
        f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2.5" fill="{colour}"/>',
        _text(
            end + (7 if raises else -7),
            middle + 4.5,
            f"{bar.contribution:+.2f}".replace("-", "−"),
            size=12,
            fill=colour,
            anchor="start" if raises else "end",
        ),
    ]


def _level(row: int, label: str, value: float, x: Callable[[float], float]) -> list[str]:
    at = x(value)
    middle = _HEADER + _ROW * (row + 0.5)
    return [
        _text(_MARGIN + _LABELS - 16, middle + 4.5, label, size=13, weight=600, anchor="end"),
        _line(at, middle, at, middle + (_ROW if row == 0 else 0), "#b9c1c9"),
        f'<circle cx="{at}" cy="{middle}" r="5" fill="{_INK}"/>',
        _text(at + 11, middle + 4.5, f"{value:.2f}".replace("-", "−"), size=12, weight=600),
    ]


def _key(left: float, baseline: float) -> list[str]:
    return [
        f'<rect x="{left}" y="{baseline - 10}" width="12" height="12" rx="2" fill="{_RAISES}"/>',
        _text(left + 18, baseline, "raises the risk", size=12, fill=_MUTED),
        f'<rect x="{left + 124}" y="{baseline - 10}" width="12" height="12" rx="2" fill="{_LOWERS}"/>',
        _text(left + 142, baseline, "lowers the risk", size=12, fill=_MUTED),
    ]


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers between the bounds."""
    raw = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    return [round(float(tick), 10) + 0.0 for tick in np.arange(np.ceil(low / step) * step, high, step)]


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{stroke}"/>'


def _text(
    x: float, y: float, text: str, *, size: int, fill: str = _INK, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{_escape(text)}</text>'
    )


def _escape(text: str) -> str:
    """Text without markup and without characters that XML does not know."""
    return escape("".join(character if character.isprintable() else " " for character in text))

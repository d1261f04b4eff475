"""The latency-throughput plot in `docs/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.sentiment.throughput import STUDENT, TEACHER, USUAL, USUAL_ONE_THREAD, Point
from blueprints.plotting import new_axes

_BLUE, _GREEN, _ORANGE, _GREY = "#0072b2", "#009e73", "#d55e00", "#8a94a0"
"""Of the palette of Okabe and Ito (2008), which people with any colour vision tell apart."""

_STYLES = {
    USUAL: ("FastAPI +\ntransformers pipeline", _ORANGE, "s"),
    USUAL_ONE_THREAD: ("the same, torch\non one thread", _GREY, "D"),
    TEACHER: ("this blueprint,\nint8 teacher", _BLUE, "o"),
    STUDENT: ("this blueprint,\nint8 student", _GREEN, "^"),
}


def latency_throughput(curves: Mapping[str, Sequence[Point]], words: str, file: Path) -> None:
    """Draws median and 99th percentile of the latency against the achieved rate, both axes logarithmic.

    Args:
        curves: Points of each service, in the order of their offered rates.
        words: What was measured on what, in a line below the plot.
        file: PNG to write.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, (axes,) = new_axes(1, width=9, height=5.2)
    # By their highest rates, labels stand left and right of the curves in turns, so that neighbours share a gap.
    for number, name in enumerate(sorted(curves, key=lambda name: curves[name][-1].rate)):
        label, colour, marker = _STYLES[name]
        rates = [point.rate for point in curves[name]]
        p50, p99 = ([getattr(point, share) * 1000 for point in curves[name]] for share in ("p50", "p99"))
        axes.fill_between(rates, p50, p99, color=colour, alpha=0.1, lw=0)
        axes.plot(rates, p50, color=colour, lw=1.4, ls=(0, (3, 2)))
        axes.plot(rates, p99, color=colour, lw=2.2, marker=marker, ms=5)
        axes.annotate(
            f"{label}\nto {rates[-1]:,.0f}/s",
            (rates[-1], p99[-1]),
            xytext=(9 if number % 2 else -9, 4),
            textcoords="offset points",
            color=colour,
            fontsize=10,
            fontweight="bold",
            ha="left" if number % 2 else "right",
            va="top",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axes.set(xscale="log", yscale="log", xlabel="answered requests per second", ylabel="latency in milliseconds")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.1)
    slowest, fastest = (find(p.rate for points in curves.values() for p in points) for find in (min, max))
    axes.set_xlim(slowest / 1.4, fastest * 2.8)
    axes.set_title(
        "Latency at a steady load: 99th percentile (solid) and median (dashed); right and down is better",
        loc="left",
        fontsize=11,
    )
    figure.supxlabel(words, x=0.01, ha="left", fontsize=8, color="#57606a")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)

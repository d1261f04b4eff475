"""Reports that people read: one self-contained HTML file of headings, words, tables and figures."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --line: #d8dde3; --soft: #5b6673; --good: #1a7f4b; --bad: #b3261e; --back: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --line: #3a424c; --soft: #9aa6b2; --good: #5cc98c; --bad: #ff8a80;
  --back: #1b2027; } figure { background: #fff; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; } h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; }
p { max-width: 48rem; } .lead { color: var(--soft); margin: 0 0 1.2rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; min-width: 8.5rem; }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; font-size: .93rem; }
.scroll { overflow-x: auto; } th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
th { text-align: left; color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; }
figure { margin: .8rem 0; padding: .4rem; border-radius: .5rem; display: inline-block; }
figure svg { max-width: 100%; height: auto; } figcaption { color: #5b6673; font-size: .88rem; padding: 0 .4rem; }
.good { color: var(--good); } .bad { color: var(--bad); } code { background: var(--back); padding: .1em .35em; }
"""


class Report:
    """Builds one report from top to bottom; every text is escaped.

    Args:
        title: The heading.
        lead: One sentence below it.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._body = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self._body.append(f'<p class="lead">{escape(lead)}</p>')

    def heading(self, text: str) -> Report:
        """A section's heading."""
        self._body.append(f"<h2>{escape(text)}</h2>")
        return self

    def text(self, text: str) -> Report:
        """A paragraph."""
        self._body.append(f"<p>{escape(text)}</p>")
        return self

    def verdict(self, text: str, *, good: bool) -> Report:
        """A paragraph that says whether something holds."""
        mark, kind = ("✓", "good") if good else ("✗", "bad")
        self._body.append(f'<p class="{kind}"><b>{mark} {escape(text)}</b></p>')
        return self

    def tiles(self, figures: Iterable[tuple[str, str]]) -> Report:
        """Headline figures, each a pair of label and value."""
        tiles = "".join(
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for label, value in figures
        )
        self._body.append(f'<div class="tiles">{tiles}</div>')
        return self

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> Report:
        """A table; numbers are aligned right, floats shown with four digits."""
        cells = [[(_show(value), not isinstance(value, str)) for value in row] for row in rows]
        numeric = [bool(cells) and all(row[i][1] for row in cells) for i in range(len(header))]
        head = "".join(_cell("th", name, right) for name, right in zip(header, numeric, strict=True))
        body = "".join("<tr>" + "".join(_cell("td", text, right) for text, right in row) + "</tr>" for row in cells)
        self._body.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )
        return self

    def figure(self, figure: Figure, caption: str = "") -> Report:
        """A plot, drawn as SVG with its text as text."""
        import matplotlib as mpl

        buffer = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
            figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        drawing = buffer.getvalue()
        words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._body.append(f"<figure>{drawing[drawing.index('<svg') :]}{words}</figure>")
        return self

    def html(self) -> str:
        """The whole page."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body>{''.join(self._body)}</body></html>"
        )


def _show(value: str | float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return value if isinstance(value, str) else f"{value:,}"


def _cell(tag: str, text: str, right: bool) -> str:
    return f"<{tag}{' class=n' if right else ''}>{escape(text)}</{tag}>"

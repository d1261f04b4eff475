"""Explanations as a page: each text with its words coloured by what they say about its label."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from blueprints.sentiment.explanation import Explanation, Span

LEVELS = 5
_WORDS = 5

# Blue and orange are apart for every kind of colour blindness; what speaks against is underlined too, so that nothing
# hangs on colour alone. Text has a contrast of 7 : 1 or more on every shade (WCAG 2.2, 1.4.6).
_FOR = {"light": "#7cb5e8", "dark": "#124f85"}
_AGAINST = {"light": "#f2a65a", "dark": "#7d3d00"}
_PAPER = {"light": "#ffffff", "dark": "#15191e"}
_INK = {"light": "#14191f", "dark": "#f1f4f7"}

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1.25rem;
  background: var(--paper); color: var(--ink); }
h1 { font-size: 1.4rem; margin: 0 0 .4rem; } h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
article { border-top: 1px solid var(--line); padding: 1.2rem 0; }
.text { font-size: 1.2rem; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .8rem; }
mark { color: inherit; border-radius: .25em; padding: .12em .1em; }
.against { text-decoration: underline; text-decoration-thickness: 2px; text-underline-offset: .28em; }
.key, .soft { color: var(--soft); } .key mark { color: var(--ink); padding: .12em .55em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: start; color: var(--soft); padding-bottom: .2rem; white-space: nowrap; }
th, td { padding: .2rem 1.4rem .2rem 0; text-align: start; border-top: 1px solid var(--line); font-weight: normal;
  overflow-wrap: anywhere; } td { text-align: end; white-space: nowrap; }
"""


def page(explanations: Sequence[Explanation], *, title: str, note: str = "") -> str:
    """An HTML document without scripts, links or images; every text is escaped.

    Args:
        explanations: What to show, in order.
        title: The heading.
        note: A line below the key, such as the model's version.
    """
    articles = "".join(map(_article, explanations))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head><body><h1>{escape(title)}</h1>"
        f'<p class="key"><mark class="for f{LEVELS}">speaks for the label</mark> '
        f'<mark class="against a{LEVELS}">speaks against it</mark> '
        f"The stronger the colour, the more changes when the word is left out. {escape(note)}</p>"
        f"{articles}</body></html>\n"
    )


def shades(scheme: str) -> dict[str, str]:
    """Background of every class of marks, `f1` to `f5` and `a1` to `a5`, as `#rrggbb`.

    Args:
        scheme: `light` or `dark`.
    """
    return {
        f"{letter}{level}": _mixed(_PAPER[scheme], colour[scheme], level / LEVELS)
        for letter, colour in (("f", _FOR), ("a", _AGAINST))
        for level in range(1, LEVELS + 1)
    }


def _article(explanation: Explanation) -> str:
    probability = max(explanation.probabilities)
    strongest = max((abs(span.score) for span in explanation.spans), default=0.0)
    parts, end = [], 0
    for span in explanation.spans:
        parts += [escape(explanation.text[end : span.start]), _marked(span, strongest)]
        end = span.end
    parts.append(escape(explanation.text[end:]))
    return (
        f"<article><h2>{escape(explanation.label)}, {probability:.1%}</h2>"
        f'<p class="text" dir="auto">{"".join(parts)}</p>{_table(explanation)}</article>'
    )


def _marked(span: Span, strongest: float) -> str:
    level = round(LEVELS * abs(span.score) / strongest) if strongest else 0
    if not level:
        return escape(span.text)
    kind = f"for f{level}" if span.score > 0 else f"against a{level}"
    return f'<mark class="{kind}" title="{_signed(span.score)}">{escape(span.text)}</mark>'


def _table(explanation: Explanation) -> str:
    """The strongest words in figures, for those who cannot see colours or want to know."""
    strongest = sorted(explanation.spans, key=lambda span: -abs(span.score))[:_WORDS]
    rows = "".join(
        f'<tr><th scope="row"><bdi>{escape(span.text)}</bdi></th><td>{_signed(span.score)}</td></tr>'
        for span in strongest
    )
    return f"<table><caption>Log-odds that the label loses without it</caption>{rows}</table>" if rows else ""


def _signed(score: float) -> str:
    return f"{score:+.2f}".replace("-", "−")


def _style() -> str:
    def scheme(name: str, line: str, soft: str) -> str:
        colours = "".join(f".{kind} {{ background: {colour}; }} " for kind, colour in shades(name).items())
        return (
            f":root {{ --paper: {_PAPER[name]}; --ink: {_INK[name]}; --line: {line}; --soft: {soft}; }}\n"
            f"mark {{ background: none; }} {colours}\n"
        )

    dark = scheme("dark", "#3a424c", "#aab4bf")
    return (
        ":root { color-scheme: light dark; }\n"
        f"{scheme('light', '#d8dde3', '#4d5763')}@media (prefers-color-scheme: dark) {{\n{dark}}}{_STYLE}"
    )


def _mixed(paper: str, colour: str, share: float) -> str:
    """A colour laid over paper."""
    channels = (
        round(int(paper[at : at + 2], 16) * (1 - share) + int(colour[at : at + 2], 16) * share) for at in (1, 3, 5)
    )
    return "#" + "".join(f"{channel:02x}" for channel in channels)

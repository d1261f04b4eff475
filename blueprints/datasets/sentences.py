"""Sentences with human ratings of sentiment: film reviews, product reviews, tweets and newspaper editorials.

At least twenty raters gave each sentence a whole number from -4 to 4; the file states their mean, and its sign is the
label. Sentences with a mean of exactly 0 have no sign and are left out, near-neutral ones stay. So are sentences that
are shorter or longer than the schema allows (a mean belongs to a whole sentence, so none is cut). Products and news are
whole documents in sentences, so `document` keeps those of one together; a film sentence or a tweet is its own.
"""

from __future__ import annotations

import html
from functools import partial
from typing import TYPE_CHECKING

from blueprints.datasets.carriers import VADER
from blueprints.datasets.errors import DatasetError
from blueprints.datasets.named import NamedDataset

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("negative", "positive")
SHORTEST, LONGEST = 3, 512
"""Characters of a text; the schemas say so, too."""

SOURCES = ("film", "product", "tweet", "news")
"""In the order of the carrier's files."""


def read_ratings(content: bytes, *, origin: str) -> pd.DataFrame:
    """A file of ratings: lines of identifier, mean valence and text, tab-separated, without header or quotes.

    Raises:
        DatasetError: A line has another form.
    """
    import pandas as pd

    rows = [line.split("\t") for line in content.decode("utf-8").splitlines() if line]
    for number, row in enumerate(rows, start=1):
        if len(row) != 3:
            raise DatasetError(f"{origin}: line {number} has {len(row)} fields, expected identifier, valence and text")
    return pd.DataFrame(rows, columns=["id", "valence", "text"])


def prepare(tables: list[pd.DataFrame], sources: tuple[str, ...]) -> pd.DataFrame:
    """One table of all sources: entities unescaped, white space normalised, labels by the sign of the valence."""
    import pandas as pd

    whole = pd.concat([table.assign(source=source) for table, source in zip(tables, sources, strict=True)])
    valence = whole["valence"].astype("float64")
    # Some entities are escaped twice: `&amp;#38;`.
    whole["text"] = [" ".join(html.unescape(html.unescape(text)).split()) for text in whole["text"]]
    whole["label"] = (valence > 0).map({False: LABELS[0], True: LABELS[1]})
    # `<document>_<sentence>` for products and news, one number for the others.
    whole["document"] = whole["source"] + "_" + whole["id"].str.split("_").str[0]
    kept = (valence != 0) & whole["text"].str.len().between(SHORTEST, LONGEST)
    return whole[kept]


def _sentences(name: str, title: str, sources: tuple[str, ...]) -> NamedDataset:
    return NamedDataset(
        name=name,
        version="1.0.0",
        title=title,
        source="Hutto & Gilbert (2014), VADER, ICWSM; files from the package vaderSentiment 0.5",
        licence="MIT",
        carrier=VADER,
        files=tuple(file for source, file in zip(SOURCES, VADER.files, strict=True) if source in sources),
        prepare=partial(prepare, sources=sources),
        read=read_ratings,
    )


FILM_SENTENCES = _sentences("film_sentences", "Sentences of film reviews", ("film",))
SENTENCES = _sentences("sentences", "Sentences of films, products, tweets and news", SOURCES)

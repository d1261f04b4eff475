"""The labelled sentences, fetched into the project's own workspace once."""

from __future__ import annotations

import functools

import pytest

from blueprints.datasets import DatasetError, get, split
from blueprints.datasets.sentences import prepare, read_ratings


@functools.cache
def loaded(name):
    return get(name).load()


def test_every_source_has_its_published_sentences_less_neutral_short_and_long_ones():
    counts = loaded("sentences")["source"].value_counts().to_dict()
    # Published: 10,605, 3,708, 4,200 and 5,190; 37, 98, 4 and 244 have a mean of 0, 8 of the products odd lengths.
    assert counts == {"film": 10_568, "product": 3_602, "tweet": 4_196, "news": 4_946}
    film = loaded("sentences")[lambda frame: frame["source"] == "film"]
    assert film["text"].tolist() == loaded("film_sentences")["text"].tolist()


def test_labels_are_the_signs_of_the_valence():
    frame = loaded("sentences")
    assert ((frame["valence"] > 0) == (frame["label"] == "positive")).all()
    first = frame.iloc[2]
    assert (first["text"], first["label"], first["valence"]) == ("Effective but too tepid biopic", "negative", -0.6)


def test_texts_have_no_entities_and_single_spaces():
    text = loaded("sentences")["text"]
    assert not text.str.contains(r"&(?:amp|lt|gt|quot|#\d+);", regex=True).any()
    assert (text == text.str.split().str.join(" ")).all()
    assert text.str.contains("\u00e9").any()


def test_a_document_is_a_review_or_an_article_or_the_sentence_itself():
    documents = loaded("sentences").groupby("source", observed=True)["document"].nunique().to_dict()
    # The identifiers end at 309 and 500, but some numbers are missing, and one review is neutral.
    assert documents == {"film": 10_568, "product": 299, "tweet": 4_196, "news": 498}
    assert loaded("sentences").groupby("document")["source"].nunique().max() == 1


def test_the_film_sentences_are_split_into_balanced_parts():
    report = split(loaded("film_sentences"), get("film_sentences").schema).report
    assert report.rows == {"train": 6_340, "validation": 2_113, "test": 2_113}
    assert report.duplicates.repeated == 2
    for shares in report.label_shares.values():
        assert shares["positive"] == pytest.approx(0.496, abs=0.001)


def test_ratings_are_read_as_they_are_and_an_odd_line_is_named():
    table = read_ratings(b'1_1\t-0.5\tsay "no"\r\n1_2\t0\tna\r\n2_1\t3.5\t  a &amp; b\r\n', origin="x")
    assert table["text"].tolist() == ['say "no"', "na", "  a &amp; b"]
    frame = prepare([table], ("product",))
    assert frame[["text", "label", "document"]].to_numpy().tolist() == [
        ['say "no"', "negative", "product_1"],
        ["a & b", "positive", "product_2"],
    ]
    with pytest.raises(DatasetError, match="x: line 2 has 2 fields"):
        read_ratings(b"1\t2\ta\n2\t3\n", origin="x")

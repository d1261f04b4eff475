"""The promotion gate: on the same texts, paired, and only between models that can be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from blueprints.datasets import Snapshot
from blueprints.sentiment.comparison import compare
from tests.blueprints.sentiment.test_packaging import INFO, SCHEMA
from tests.lexicon_model import lexicon_package

WORDS = {
    "positive": ("good", "great", "moving", "funny", "warm"),
    "negative": ("bad", "awful", "dull", "cold", "boring"),
}


@pytest.fixture(scope="module")
def texts():
    """Texts of one word that counts; one in ten has the label of the other side."""
    rng = np.random.default_rng(0)
    labels = rng.choice(["negative", "positive"], 400)
    seen = [("negative" if label == "positive" else "positive") if rng.random() < 0.1 else label for label in labels]
    frame = pd.DataFrame({"review": [f"a {rng.choice(WORDS[label])} film" for label in seen], "label": labels})
    return Snapshot(frame.assign(document=[str(place) for place in range(400)]), SCHEMA, INFO)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Packages of lexicons: the right one, the same again, and one that leans towards the negative."""
    folder = tmp_path_factory.mktemp("packages")
    return {
        "good": lexicon_package(folder / "good"),
        "same": lexicon_package(folder / "same", bias=0.01),
        "leaning": lexicon_package(folder / "leaning", bias=1.2),
    }


def test_without_a_champion_the_minimum_decides(packages, texts):
    first = compare(packages["good"], None, texts, minimum_accuracy=0.7)
    assert first.promote
    assert first.reason.startswith("no champion yet, and the accuracy 0.9")
    assert (first.champion, first.accuracy_difference) == ("", None)
    assert not compare(packages["good"], None, texts, minimum_accuracy=0.99).promote


def test_an_equal_model_passes_and_a_worse_one_does_not(packages, texts):
    equal = compare(packages["same"], packages["good"], texts)
    assert equal.promote
    assert (equal.accuracy_difference.value, equal.accuracy_difference.low) == (0, 0)
    worse = compare(packages["leaning"], packages["good"], texts, minimum_accuracy=0.1)
    assert not worse.promote
    assert worse.accuracy_difference.high < 0
    assert "beyond the tolerance of 0.02" in worse.reason
    assert compare(packages["leaning"], packages["good"], texts, minimum_accuracy=0.1, tolerance=1.0).promote
    better = compare(packages["good"], packages["leaning"], texts)
    assert better.accuracy_difference.value == pytest.approx(-worse.accuracy_difference.value)


def test_below_the_minimum_even_a_better_model_does_not_pass(packages, texts):
    result = compare(packages["good"], packages["leaning"], texts, minimum_accuracy=0.99)
    assert not result.promote
    assert result.reason.endswith("but below the minimum 0.99")


def test_the_champion_itself_stays(packages, texts):
    result = compare(packages["good"], packages["good"], texts)
    assert result.promote
    assert "it is the champion already" in result.reason


def test_a_champion_with_other_labels_cannot_be_compared(packages, texts, tmp_path):
    stars = lexicon_package(tmp_path / "stars", labels=("one", "two", "three"))
    result = compare(packages["good"], stars, texts)
    assert not result.promote
    assert "other labels (one, two, three)" in result.reason
    assert "under a name of its own" in result.reason


def test_texts_of_one_document_are_one_piece_of_evidence(packages, texts):
    frame = texts.frame.assign(document=np.arange(400) // 100)
    together = compare(packages["leaning"], packages["good"], replace(texts, frame=frame), minimum_accuracy=0.1)
    alone = compare(packages["leaning"], packages["good"], texts, minimum_accuracy=0.1)
    assert together.accuracy_difference.value == alone.accuracy_difference.value
    assert together.accuracy_difference != alone.accuracy_difference

"""The report: every figure is on the page, and texts of the data are text."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from blueprints.sentiment.evaluation import evaluate
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.reports import evaluation_report
from blueprints.sentiment.robustness import measure_robustness
from blueprints.sentiment.text_model import TextModelConfig

HOSTILE = "<script>alert('$x_1$')</script> & more"


def page(labels=("negative", "positive"), baselines=True, source=("film", "news")):
    rng = np.random.default_rng(0)
    target = rng.integers(0, len(labels), 60)
    scores = rng.normal(size=(60, len(labels))) + np.eye(len(labels))[target]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    examples = Examples([HOSTILE + "!" * place for place in range(60)], target, labels)

    def classify(texts):
        return np.tile(np.eye(len(labels))[0], (len(texts), 1))

    result = evaluate(
        examples,
        probabilities,
        {"TF-IDF + logistic regression": probabilities[:, ::-1]} if baselines else {},
        measure_robustness(examples, probabilities, classify, rows=20),
        frame=pd.DataFrame({"source": np.resize(source, 60), "valence": rng.normal(size=60)}),
        resamples=20,
    )
    config = TextModelConfig(labels=labels, layers=6, method="finetuned", precision="int8", temperature=1.25)
    return result, evaluation_report(result, probabilities, target, config)


@pytest.fixture(scope="module")
def made():
    return page()


def test_the_page_shows_figures_intervals_slices_and_robustness(made):
    result, html = made
    for words in (
        "MiniLM, fine-tuned, 6 layers, int8",
        str(result.model.accuracy),
        str(result.baselines["TF-IDF + logistic regression"].macro_f1),
        "accuracy, film",
        "temperature of 1.250",
        "near-neutral (below 0.5)",
        "neighbouring keys",
        "negated negative",
        "Wrong, and sure of it",
    ):
        assert words in html
    assert len(re.findall("<svg", html)) == 5


def test_texts_are_escaped(made):
    _, html = made
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_other_labels_names_and_no_baselines_make_a_page_too():
    result, html = page(("$low$", "a & b", "très bien"), baselines=False, source=("only",))
    assert result.margin is None
    assert "best baseline</span>" not in html
    assert "très bien" in html
    assert "need the labels negative and positive" in html

"""Words left out, on a lexicon whose scores can be checked by hand."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.explanation import PASSES, explain
from tests.lexicon_model import WEIGHTS, write_lexicon_model

words = st.lists(st.sampled_from([*WEIGHTS, "zebra", "!", "don't", "well-made"]), min_size=1, max_size=25)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return TextClassifier.open(write_lexicon_model(tmp_path_factory.mktemp("lexicon")))


@settings(max_examples=60, deadline=None)
@given(words=words, gap=st.sampled_from([" ", "  ", "\n"]))
def test_the_score_of_a_word_is_what_the_label_loses_without_it(classifier, words, gap):
    text = gap.join(words)
    explanation = explain(classifier, text)
    total = sum(WEIGHTS.get(word, 0.0) for word in words)
    sign = 1 if explanation.label == "positive" else -1
    assert explanation.log_odds == pytest.approx(abs(total), abs=1e-5)
    assert explanation.probabilities[1] == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-6)
    assert [span.text for span in explanation.spans] == words
    assert [span.score for span in explanation.spans] == pytest.approx(
        [sign * WEIGHTS.get(word, 0.0) for word in words], abs=1e-5
    )


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=120))
def test_spans_are_apart_in_order_and_as_in_the_text(classifier, text):
    spans = explain(classifier, text).spans
    assert all(text[span.start : span.end] == span.text != "" for span in spans)
    assert all(before.end <= after.start for before, after in itertools.pairwise(spans))
    assert not re.search(r"\w", "".join(text[a:b] for a, b in _gaps(text, spans)))


def _gaps(text, spans):
    bounds = [0, *(bound for span in spans for bound in (span.start, span.end)), len(text)]
    return zip(bounds[::2], bounds[1::2], strict=True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It isn't so-so, is it?!", ["It", "isn't", "so-so", ",", "is", "it", "?!"]),
        ("it’s ‘good’", ["it’s", "‘", "good", "’"]),
        ("good,bad...awful", ["good", ",", "bad", "...", "awful"]),
        ("电影很好 good", ["电", "影", "很", "好", "good"]),
        ("фильм хорош 😀😀", ["фильм", "хорош", "😀😀"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("", []),
        (" \u200b\n", []),
    ],
)
def test_a_span_is_a_word_as_people_see_it(text, parts, tmp_path):
    characters = TextClassifier.open(write_lexicon_model(tmp_path))
    characters.encode = lambda texts, encode=characters.encode: [
        _by_character(encode([text])[0], text) for text in texts
    ]
    assert [span.text for span in explain(characters, text).spans] == parts


def _by_character(encoded, text):
    """The text in tokens of one character each, as pieces of words are."""
    offsets = [(at, at + 1) for at, character in enumerate(text) if not re.match(r"[\s\u200b]", character)]
    ids = np.array([2, *([1] * len(offsets)), 3], np.int64)
    return type(encoded)((ids,), offsets)


def test_with_three_labels_the_label_stands_against_both_others(tmp_path):
    labels = ("negative", "positive", "neutral")
    classifier = TextClassifier.open(write_lexicon_model(tmp_path, labels=labels, temperature=2.0))
    explanation = explain(classifier, "a great film")
    assert explanation.label == "positive"
    assert explanation.log_odds == pytest.approx(1.5 - math.log(2))
    assert {span.text: span.score for span in explanation.spans}["great"] == pytest.approx(1.5)


@pytest.mark.parametrize("count", [100, 400, 5_000])
def test_long_texts_cost_no_more_and_are_explained_in_spans_of_several_words(classifier, count):
    passes = []
    pattern = ["good", "film", "bad", "bad", "a"]
    text = " ".join(pattern * (count // 5))
    explanation = explain(classifier, text, before_pass=lambda: passes.append(1))
    (encoded,) = classifier.encode([text])
    assert len(passes) <= max(PASSES, 2 * len(encoded.windows) + 24)
    assert 16 <= len(explanation.spans) <= PASSES
    assert explanation.spans[0].start == 0
    assert explanation.spans[-1].end == len(text)
    np.testing.assert_allclose(explanation.probabilities, classifier.classify([text])[0], atol=1e-6)
    assert explanation.label == "negative"
    assert sum(span.score for span in explanation.spans) > 0


def test_it_agrees_with_the_classifier_on_a_text_of_several_windows(classifier):
    text = " ".join(["film"] * 40 + ["good"] + ["a"] * 60)
    explanation = explain(classifier, text)
    without = classifier.classify([text.replace("good", "zebra")])[0]
    score = {span.text: span.score for span in explanation.spans}["good"]
    assert score == pytest.approx(explanation.log_odds - math.log(without[1] / without[0]), abs=1e-5)


def test_words_with_high_scores_carry_the_label(classifier):
    """Comprehensiveness and sufficiency (DeYoung et al. 2020): against as many words at random."""
    random = np.random.default_rng(0)
    chosen, by_chance = [], []
    for _ in range(30):
        words = random.choice(list(WEIGHTS), 15).tolist()
        explanation = explain(classifier, " ".join(words))
        order = np.argsort([-span.score for span in explanation.spans])
        code = classifier.config.labels.index(explanation.label)
        for result, ranked in ((chosen, order), (by_chance, random.permutation(15))):
            less = " ".join(words[at] for at in sorted(ranked[3:]))
            only = " ".join(words[at] for at in sorted(ranked[:3]))
            probability = explanation.probabilities[code]
            after = classifier.classify([less, only])[:, code]
            result.append((probability - after[0], probability - after[1]))
    comprehensiveness, sufficiency = np.mean(chosen, axis=0)
    chance_comprehensiveness, chance_sufficiency = np.mean(by_chance, axis=0)
    assert comprehensiveness > chance_comprehensiveness + 0.3
    assert sufficiency < chance_sufficiency - 0.1


def test_work_ends_when_the_caller_says_so(classifier):
    calls = itertools.count()

    def stop():
        if next(calls) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        explain(classifier, "good " * 40, before_pass=stop)
    assert next(calls) == 4

"""Robustness: changes are seeded and keep the text, the suite knows its labels, figures count what happened."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.robustness import PERTURBATIONS, TYPO_RATE, measure_robustness, suite
from tests.lexicon_model import write_lexicon_model

TEXTS = st.text(min_size=1, max_size=80)
NAMES = ("negative", "positive")


@given(TEXTS, st.integers(0, 1_000), st.sampled_from(list(PERTURBATIONS)))
def test_a_change_follows_its_seed_and_leaves_something(text, seed, name):
    once, again = (PERTURBATIONS[name](text, np.random.default_rng(seed)) for _ in range(2))
    assert once == again
    assert once


@given(TEXTS, st.integers(0, 1_000))
def test_typos_touch_letters_of_the_keyboard_only(text, seed):
    other = "".join(character for character in text if not (character.isascii() and character.isalpha()))
    for name in ("neighbouring keys", "doubled letters"):
        changed = PERTURBATIONS[name](text, np.random.default_rng(seed))
        assert "".join(character for character in changed if not (character.isascii() and character.isalpha())) == other


def test_typos_hit_the_stated_share_of_letters_and_keep_their_case():
    text = "Words In Mixed Case " * 500
    changed = PERTURBATIONS["neighbouring keys"](text, np.random.default_rng(0))
    different = [(old, new) for old, new in zip(text, changed, strict=True) if old != new]
    letters = sum(character.isalpha() for character in text)
    assert len(different) / letters == pytest.approx(TYPO_RATE, abs=0.01)
    assert all(old.isupper() == new.isupper() for old, new in different)
    assert len(text) - len(PERTURBATIONS["dropped letters"](text, np.random.default_rng(0))) == len(different)


def test_punctuation_goes_and_apostrophes_stay():
    assert PERTURBATIONS["no punctuation"]("Well, it isn't -- no!", np.random.default_rng(0)) == "Well it isn't no"
    assert PERTURBATIONS["no punctuation"]("?!", np.random.default_rng(0)) == "?!"


def test_the_suite_pairs_every_plain_sentence_with_its_negation():
    sentences = {sentence: (kind, label) for kind, sentence, label in suite()}
    assert len(sentences) == len(suite())
    assert sentences["The film is good."] == ("plain positive", "positive")
    assert sentences["The film is not good."] == ("negated positive", "negative")
    assert sentences["The film is not bad."] == ("negated negative", "positive")
    assert sentences["The beginning is good, but the film is bad."] == ("but negative", "negative")
    assert sentences["What an awful story."] == ("plain negative", "negative")
    for sentence, (kind, label) in sentences.items():
        if kind.startswith("plain") and " is " in sentence:
            assert sentences[sentence.replace(" is ", " is not ")][1] != label


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory):
    """A bag of words: it knows good from bad, and nothing of `not` and `but`."""
    return TextClassifier.open(write_lexicon_model(tmp_path_factory.mktemp("lexicon")))


def test_a_bag_of_words_is_caught_by_negation_but_not_by_case(lexicon):
    texts = ["a good film", "an awful film", "a funny story!", "a dull, boring story"] * 10
    examples = Examples(texts, np.array([1, 0, 1, 0] * 10), NAMES)
    found = measure_robustness(examples, lexicon.classify(texts), lexicon.classify)
    changes = {one.name: one for one in found.perturbations}
    assert changes.keys() == PERTURBATIONS.keys()
    assert (changes["upper case"].loss.value, changes["upper case"].flipped) == (0, 0)
    assert changes["upper case"].example == "A GOOD FILM"
    typos = changes["dropped letters"]
    assert 0 < typos.loss.value == pytest.approx(1 - typos.accuracy.value)
    assert typos.flipped == pytest.approx(typos.loss.value)
    kinds = {kind.kind: kind.accuracy for kind in found.negation}
    # It knows two of the eight good words and four of the bad ones; what it does not know is negative to it.
    assert kinds["plain positive"] == pytest.approx(3 / 8)
    assert kinds["plain negative"] == 1
    assert kinds["negated positive"] == pytest.approx(5 / 8)
    assert kinds["negated negative"] == 0
    assert found.turned == 0


def test_a_classifier_that_reads_not_turns_its_answers():
    def knows_not(texts):
        words = [text.lower() for text in texts]
        bad = [any(word in text for word in ("bad", "terrible", "awful", "boring", "disappointing", "dreadful",
                                             "annoying", "dull")) for text in words]  # fmt: skip
        negated = [any(word in text for word in ("not ", "n't", "never", "nothing")) for text in words]
        code = (np.array(bad) == np.array(negated)).astype(int)
        return np.eye(2)[code]

    examples = Examples(["fine"], np.array([1]), NAMES)
    found = measure_robustness(examples, np.array([[0.0, 1.0]]), knows_not)
    assert found.turned == 1
    assert all(kind.accuracy == 1 for kind in found.negation if not kind.kind.startswith("but"))


def test_other_labels_have_no_suite(lexicon):
    examples = Examples(["a good film"], np.array([1]), ("ham", "spam"))
    found = measure_robustness(examples, lexicon.classify(examples.texts), lexicon.classify)
    assert (found.negation, found.turned) == ((), None)


def test_a_sample_is_no_larger_than_asked_and_follows_the_seed(lexicon):
    texts = [f"a {word} film" for word in ("good", "bad", "dull", "great", "warm")] * 20
    examples = Examples(texts, np.array([1, 0, 0, 1, 1] * 20), NAMES)
    one, same = (
        measure_robustness(examples, lexicon.classify(texts), lexicon.classify, rows=30, seed=4) for _ in range(2)
    )
    assert one == same
    assert one.rows == 30

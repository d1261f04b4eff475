from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.datasets.duplicates import SHINGLE, SIMILAR, distinct_texts, families

LONG = "the quick brown fox jumps over the lazy dog while the cat sleeps in the sun {}"


def distinct(*rows):
    return distinct_texts([text for text, _ in rows], np.array([label for _, label in rows]))


def test_a_text_that_differs_in_case_and_white_space_alone_is_dropped():
    found = distinct(("A good film.", 1), ("a  GOOD film.", 1), ("A bad film.", 0))
    assert found.rows.tolist() == [0, 2]
    assert (found.report.repeated, found.report.dropped) == (1, 1)


def test_contradictions_go_by_majority_and_all_go_without_one():
    found = distinct(("so so", 0), ("So so", 1), ("so SO", 1), ("hm well", 0), ("Hm well", 1), ("else", 0))
    assert found.rows.tolist() == [1, 5]
    assert (found.report.outvoted, found.report.repeated, found.report.undecided) == (1, 1, 2)


def test_similar_texts_are_dropped_when_they_agree_and_kept_together_when_not():
    texts = [LONG.format(end) for end in ("", "now", "!!", "2024")]
    found = distinct((texts[0], 0), (texts[1], 0), (texts[2], 1), (texts[3], 1), ("quite another text", 1))
    assert found.rows.tolist() == [0, 2, 4]
    assert found.family[0] == found.family[1] != found.family[2]
    assert (found.report.similar, found.report.contrasting) == (2, 2)


def test_texts_without_letters_are_compared_as_they_are():
    assert len(set(families([":)", ":(", ":)", "\U0001f600", "\U0001f622", "5"]))) == 5


def test_few_or_no_texts_are_no_problem():
    assert families([]).tolist() == []
    assert families(["ab"]).tolist() == [0]


def test_a_large_family_takes_no_longer_than_its_size_says():
    texts = [LONG.format(LONG.format(chr(97 + row % 26) + chr(97 + row // 26 % 26))) for row in range(3000)]
    assert set(families(texts)) == {0}


@given(st.lists(st.text("abc ", min_size=1, max_size=14), min_size=1, max_size=30), st.randoms())
@settings(max_examples=150, deadline=None)
def test_families_are_the_connected_components_of_all_similar_pairs(texts, random):
    texts += [text + random.choice("abc") for text in texts if len(text) > 8]

    def shingles(text):
        padded = f" {' '.join(text.split())} "
        return {padded[start : start + SHINGLE] for start in range(max(1, len(padded) - SHINGLE + 1))}

    sets = [shingles(text) for text in texts]
    expected = list(range(len(texts)))
    for left in range(len(texts)):
        for right in range(left):
            if len(sets[left] & sets[right]) / len(sets[left] | sets[right]) >= SIMILAR:
                old, new = expected[left], expected[right]
                expected = [new if family == old else family for family in expected]
    found = families(texts).tolist()
    assert [found.index(family) for family in found] == [expected.index(family) for family in expected]


def test_texts_that_all_contradict_each_other_leave_nothing():
    for texts, labels in ((["same", "same"], [0, 1]), ([], [])):
        found = distinct_texts(texts, np.array(labels, np.intp))
        assert found.rows.tolist() == found.family.tolist() == []
        assert found.report.dropped == found.report.undecided == len(texts)

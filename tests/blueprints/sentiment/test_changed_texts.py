from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blueprints.sentiment.changed_texts import changed, with_changed

FIRST, LAST = 101, 102
inner = st.lists(st.integers(1000, 1050), max_size=30)
seeds = st.integers(0, 2**32 - 1)


def window(tokens):
    return np.array([FIRST, *tokens, LAST], np.int64)


@given(inner, inner, st.integers(8, 40), seeds)
def test_a_changed_text_has_its_ends_and_tokens_of_the_two_and_fits(one, other, max_tokens, seed):
    one = one[: max_tokens - 2]
    made = changed(window(one), window(other), max_tokens, np.random.default_rng(seed)).tolist()
    assert (made[0], made[-1]) == (FIRST, LAST)
    assert len(made) <= max_tokens
    assert set(made[1:-1]) <= {*one, *other}
    assert not one or len(made) > 2


@given(st.lists(inner, min_size=1, max_size=6), st.integers(0, 40), seeds)
def test_the_texts_come_first_and_unchanged_and_each_is_changed_as_often(texts, number, seed):
    windows = [window(text) for text in texts]
    before = [each.copy() for each in windows]
    made = with_changed(windows, number, 64, np.random.default_rng(seed))
    assert len(made) == max(number, len(texts))
    assert all(np.array_equal(a, b) for a, b in zip(made, before, strict=False))
    assert all(np.array_equal(a, b) for a, b in zip(windows, before, strict=True))


def test_the_same_seed_gives_the_same_texts():
    windows = [window(range(1000, 1000 + size)) for size in (3, 9, 20)]
    one, two = (with_changed(windows, 60, 64, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert len({tuple(each.tolist()) for each in one}) > 30

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.schema import Column
from blueprints.segmentation.features import BASIC, FEATURES
from blueprints.segmentation.naming import MOST_TRAITS, find_traits, name_segments, traits_hold
from blueprints.segmentation.profiles import profile
from blueprints.segmentation.segments import LONGEST, Trait

OTHER = (
    Column(name="income", kind="number", title="yearly income", unit="EUR"),
    Column(name="visits", kind="number"),
)


def purchases(*groups, seed=0, rows=200):
    """Customers around the given recency, frequency and amount."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.array(group) * rng.uniform(0.9, 1.1, (rows, len(group))) for group in groups])
    values[:, 1] = np.maximum(np.round(values[:, 1]), 1)
    return values, np.repeat(np.arange(len(groups)), rows)


def names(values, labels, columns=BASIC, **kwargs):
    found = profile(values, labels, [column.name for column in columns])
    return [naming.name for naming in name_segments(found, columns, **kwargs)]


def test_purchases_are_named_in_words():
    values, labels = purchases((400, 1, 12), (20, 12, 900), (200, 4, 100))
    assert names(values, labels) == [
        "lapsed one-time small spenders",
        "recent frequent big spenders",
        "average customers",
    ]


def test_other_columns_are_named_by_their_titles():
    values, labels = purchases((10, 1), (500, 9))
    assert names(values, labels, OTHER) == ["low yearly income, low visits", "high yearly income, high visits"]


def test_a_description_has_the_medians_beside_those_of_all():
    found = profile(*purchases((10, 1), (500, 9)), ["income", "visits"])
    description = name_segments(found, OTHER)[1].description
    assert description.startswith("50% of all customers. ")
    assert "yearly income " in description
    assert " EUR (" in description
    assert "visits 9 (" in description


def test_segments_of_the_same_traits_are_graded():
    lapsed = [(400, 1, 10)] * 6
    values, labels = purchases(*lapsed, (20, 9, 300), (15, 20, 900), (10, 60, 4000))
    found = names(values, np.maximum(labels - 5, 0))
    assert found[1:] == [
        "recent frequent big spenders",
        "recent frequent very big spenders",
        "recent frequent biggest spenders",
    ]


def test_a_feature_that_most_lack_names_nobody():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 2))
    labels = np.repeat([0, 1], 200)
    values[labels == 0] += 10
    values[:150, 1] = np.nan
    found = profile(values, labels, ["income", "visits"])
    assert [trait.feature for trait in find_traits(found.segments[0])] == ["income"]


def test_features_of_one_topic_are_said_once():
    values = np.column_stack([np.repeat([1.0, 9.0], 100)] * 2)
    found = profile(values, np.repeat([0, 1], 100), ["frequency", "distinct_days"])
    assert find_traits(found.segments[1]) == (Trait(feature="frequency", level="high"),)


def test_segments_that_do_not_differ_are_numbered():
    values = np.tile([[100.0, 2.0, 30.0]], (40, 1))
    assert names(values, np.repeat([0, 1, 2, 3], 10)) == [
        "average customers", "average customers (2)", "average customers (3)", "average customers (4)"
    ]  # fmt: skip


def test_kept_names_stay_and_are_given_to_nobody_else():
    values, labels = purchases((400, 1, 12), (20, 12, 900), (18, 30, 5000))
    traits = (Trait(feature="monetary", level="high"),)
    found = names(values, labels, kept={1: ("our best", traits), 2: ("recent frequent big spenders", ())})
    assert found[1:] == ["our best", "recent frequent big spenders"]
    lone = names(values, labels, kept={0: ("recent frequent big spenders", ())})
    assert lone[0] == "recent frequent big spenders"
    assert len(set(lone)) == 3


def test_a_newcomer_beside_a_kept_segment_of_the_same_traits_is_compared_with_it():
    values, labels = purchases(*[(400, 1, 12)] * 4, (20, 12, 900), (18, 30, 5000))
    found = profile(values, np.maximum(labels - 3, 0), [column.name for column in BASIC])
    before = name_segments(found, BASIC)[1]
    newcomer = name_segments(found, BASIC, kept={1: ("old friends", before.traits)})[2]
    assert newcomer.name == "recent frequent big spenders, higher amount spent"


@st.composite
def tables(draw):
    segments = draw(st.integers(2, 8))
    width = draw(st.integers(1, len(FEATURES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    centers = np.exp(rng.normal(0, draw(st.sampled_from([0.0, 1.0, 3.0])), (segments, width)))
    labels = np.concatenate([np.arange(segments), rng.integers(0, segments, 80)])
    values = centers[labels] * np.exp(rng.normal(0, 0.3, (len(labels), width)))
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.4]))] = np.nan
    return values, labels, FEATURES[:width]


@settings(deadline=None, max_examples=100)
@given(tables(), st.integers(0, 1000))
def test_names_are_unique_short_and_do_not_depend_on_the_order(made, seed):
    values, labels, columns = made
    found = profile(values, labels, [column.name for column in columns])
    namings = name_segments(found, columns)
    assert len({naming.name for naming in namings}) == len(namings)
    for naming, segment in zip(namings, found.segments, strict=True):
        assert 0 < len(naming.name) <= LONGEST
        assert len(naming.traits) <= MOST_TRAITS
        assert traits_hold(naming.traits, segment)
    order = np.random.default_rng(seed).permutation(len(found.segments))
    turned = found.model_copy(update={"segments": tuple(found.segments[place] for place in order)})
    again = [naming.name for naming in name_segments(turned, columns)]
    plain = [name for name in again if not name.endswith(")")]
    assert set(plain) <= {naming.name for naming in namings}
    for name, place in zip(again, order, strict=True):
        if not name.endswith(")") and not any(name in other.name and other.name != name for other in namings):
            assert namings[place].name == name


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(0, 100))
def test_long_titles_are_cut(length, seed):
    columns = [Column(name=f"c{place}", kind="number", title="x" * length + str(place)) for place in range(3)]
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.permutation(6)[:, None], 3, axis=1).repeat(20, axis=0).astype(float)
    found = names(values, np.repeat(np.arange(6), 20), columns)
    assert len(set(found)) == 6
    assert max(map(len, found)) <= LONGEST


@pytest.mark.parametrize(("delta", "holds"), [(0.4, True), (0.2, True), (0.1, False), (-0.4, False)])
def test_a_trait_holds_until_its_effect_is_negligible(delta, holds):
    values, labels = purchases((1.0, 1), (1.0, 1))
    segment = profile(values, labels, ["income", "visits"]).segments[0]
    one = segment.features["income"].model_copy(update={"dominance": delta})
    weaker = segment.model_copy(update={"features": segment.features | {"income": one}})
    assert traits_hold((Trait(feature="income", level="high"),), weaker) is holds


def test_a_trait_of_a_feature_that_is_gone_does_not_hold():
    segment = profile(*purchases((1.0, 1), (2.0, 3)), ["income", "visits"]).segments[0]
    assert not traits_hold((Trait(feature="age", level="high"),), segment)
    assert traits_hold((), segment)

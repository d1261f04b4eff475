from hypothesis import given
from hypothesis import strategies as st

from localcluster.controllers.applier import covers, difference

scalars = st.booleans() | st.integers(-3, 3) | st.text(max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


@given(objects, objects)
def test_a_difference_merged_into_the_old_object_gives_the_new_one(old, new):
    patch = difference(old, new)
    assert merge(old, patch) == new
    assert (patch == {}) == (old == new)


@given(objects, objects)
def test_an_object_covers_itself_with_anything_added(wanted, added):
    assert covers(wanted, wanted)
    assert covers({**added, **wanted}, wanted)


@given(objects, st.sampled_from("abc"), scalars)
def test_an_object_that_lacks_or_changes_a_field_does_not_cover(wanted, key, value):
    there = {name: item for name, item in wanted.items() if name != key}
    if key in wanted:
        assert not covers(there, wanted)
        assert covers({**there, key: value}, wanted) == (value == wanted[key] and not isinstance(wanted[key], dict))


def test_lists_must_be_of_one_length_and_their_entries_may_have_defaults():
    assert covers([{"port": 1, "protocol": "TCP"}], [{"port": 1}])
    assert not covers([{"port": 1}, {"port": 2}], [{"port": 1}])

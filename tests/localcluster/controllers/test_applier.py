import asyncio

from hypothesis import given
from hypothesis import strategies as st

from localcluster.api.resources import CONFIG_MAPS
from localcluster.api.server import ApiServer
from localcluster.controllers.applier import Applier, covers, difference
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, owner_reference
from tests.localcluster.small_cluster import TOKEN, until

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


def test_what_is_deleted_is_forgotten_and_only_what_is_made_is_new(tmp_path):
    def config_map(name, **metadata):
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", **metadata},
        }

    async def scenario():
        async with ApiServer(tmp_path, token=TOKEN) as api, Client(api.url, TOKEN, "test") as client:
            cache = Cache(client, [CONFIG_MAPS])
            applier = Applier(client, cache)
            owner = await client.create(CONFIG_MAPS, config_map("owner"))
            wanted = config_map("one", ownerReferences=[owner_reference(owner)])
            # Nobody watches yet: the cache is behind.
            assert [await applier.apply(CONFIG_MAPS, wanted) for _ in range(2)] == [True, False]
            watching = asyncio.create_task(cache.run())
            await cache.synced()
            assert len(applier._applied) == len(applier._written) == 1
            await client.delete(CONFIG_MAPS, "one", "default")

            async def forgotten():
                return not applier._applied and not applier._written

            await until(forgotten)
            assert await applier.apply(CONFIG_MAPS, wanted)
            watching.cancel()

    asyncio.run(scenario())

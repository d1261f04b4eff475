"""The store against a simple model, through restarts; and what a killed process leaves."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from localcluster.api import persistence
from localcluster.api.collector import GarbageCollector
from localcluster.api.deletion import DeleteOptions
from localcluster.api.errors import ApiError
from localcluster.api.persistence import Database
from localcluster.api.registry import Registry, WriteOptions
from localcluster.api.resources import CONFIG_MAPS, NAMESPACES
from localcluster.api.selectors import parse
from localcluster.api.store import Key, Store
from localcluster.api.watch import Watch

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["0", "1", "2"])
FINALIZER = "example.org/x"
ME = WriteOptions("tester")
SELECTED = "v in (1,2)"


class StoreAgainstModel(RuleBasedStateMachine):
    """A dictionary is the model; a watcher that was there from the start must come to the same state."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.model, self.version, self.followers = {}, 0, []
        self._open()
        self.registry.create(NAMESPACES, "", {"metadata": {"name": "default"}}, ME)
        self.follow()

    def _open(self):
        self.database = Database(Path(self.folder.name))
        self.store = Store(self.database)
        self.collector = GarbageCollector(self.store)
        self.registry = Registry(self.store, self.collector.deleter)

    def teardown(self):
        self.database.close()
        self.loop.close()
        self.folder.cleanup()

    def _run(self, act):
        """Acts within the event loop, as requests do."""

        async def inside():
            return act()

        return self.loop.run_until_complete(inside())

    @rule(name=NAMES, value=VALUES, held=st.booleans())
    def create(self, name, value, held):
        metadata = {"name": name, "labels": {"v": value}, **({"finalizers": [FINALIZER]} if held else {})}
        body = {"metadata": metadata, "data": {"v": value}}
        if name in self.model:
            with pytest.raises(ApiError, match="already exists"):
                self._run(lambda: self.registry.create(CONFIG_MAPS, "default", body, ME))
        else:
            self._run(lambda: self.registry.create(CONFIG_MAPS, "default", body, ME))
            self.model[name] = (value, held, False)

    @rule(name=NAMES, value=VALUES)
    def change(self, name, value):
        before = self.store.version
        patch = {"metadata": {"labels": {"v": value}}, "data": {"v": value}}
        if self._patch(name, patch):
            old = self.model[name]
            self.model[name] = (value, *old[1:])
            assert (self.store.version == before) == (old[0] == value)

    @rule(name=NAMES)
    def release(self, name):
        if self._patch(name, {"metadata": {"finalizers": None}}):
            value, _, deleted = self.model.pop(name)
            if not deleted:
                self.model[name] = (value, False, False)

    def _patch(self, name, patch):
        """Patches an object; whether there is one."""

        def act():
            self.registry.patch(CONFIG_MAPS, "default", name, "merge", patch, ME)

        if name in self.model:
            self._run(act)
            return True
        with pytest.raises(ApiError, match="not found"):
            self._run(act)
        return False

    @rule(name=NAMES)
    def delete(self, name):
        def act():
            key = Key("configmaps", "default", name)
            return self.collector.deleter.delete(CONFIG_MAPS, key, DeleteOptions())

        if name not in self.model:
            with pytest.raises(ApiError, match="not found"):
                self._run(act)
            return
        _, gone = self._run(act)
        value, held, _ = self.model.pop(name)
        assert gone is not held
        if held:
            self.model[name] = (value, True, True)

    @rule()
    def restart(self):
        for watch, *_ in self.followers:
            watch.close()
        self._catch_up()
        self.collector.stop()
        self.database.close()
        self._open()
        followers, self.followers = self.followers, []
        for _, labels, seen, version in followers:
            self._follow(labels, seen, version)

    @precondition(lambda self: len(self.followers) < 4)
    @rule()
    def follow(self):
        for labels in ("", SELECTED):
            selection = parse(CONFIG_MAPS, "default", labels)
            listed = [item for item in self.store.items("configmaps", "default") if selection.matches(item)]
            seen = {item["metadata"]["name"]: item for item in listed}
            self._follow(labels, seen, self.store.version)

    def _follow(self, labels, seen, version):
        selection = parse(CONFIG_MAPS, "default", labels)
        self.followers.append([Watch(self.store, "configmaps", selection, version), labels, seen, version])

    def _catch_up(self):
        for follower in self.followers:
            watch, _, seen, version = follower
            for type_, item in watch.pending():
                name, at = item["metadata"]["name"], int(item["metadata"]["resourceVersion"])
                assert at > version
                assert (name in seen) == (type_ != "ADDED")
                version = at
                if type_ == "DELETED":
                    del seen[name]
                else:
                    seen[name] = item
            follower[3] = version

    @invariant()
    def versions_only_grow(self):
        if hasattr(self, "store"):
            assert self.store.version >= self.version
            self.version = self.store.version

    @invariant()
    def the_store_is_the_model(self):
        if hasattr(self, "store"):
            there = {item["metadata"]["name"]: item for item in self.store.items("configmaps")}
            assert self.model == {
                name: (item["data"]["v"], "finalizers" in item["metadata"], "deletionTimestamp" in item["metadata"])
                for name, item in there.items()
            }

    @invariant()
    def a_list_and_a_watch_from_its_version_show_what_is_there(self):
        if hasattr(self, "store"):
            self._catch_up()
            for _, labels, seen, _ in self.followers:
                selection = parse(CONFIG_MAPS, "default", labels)
                found = [item for item in self.store.items("configmaps", "default") if selection.matches(item)]
                assert seen == {item["metadata"]["name"]: item for item in found}


StoreAgainstModel.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_store_is_the_model = pytest.mark.filterwarnings("ignore")(StoreAgainstModel.TestCase)


def test_a_write_that_fails_on_disk_changes_nothing(tmp_path):
    database = Database(tmp_path)
    store = Store(database)
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", "uid": "u"}}
    store.put("configmaps", item)
    told = []
    store.listen(told.append)
    database.close()
    with pytest.raises(ApiError) as error:
        store.put("configmaps", {**item, "data": {"a": "1"}})
    assert error.value.code == 503
    assert (store.version, told) == (1, [])
    assert "data" not in store.get(Key("configmaps", "default", "a"))


def test_history_is_bounded_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(persistence, "HISTORY", 10)
    monkeypatch.setattr(persistence, "_PRUNE_EVERY", 5)
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", "uid": "u"}}
    database = Database(tmp_path)
    store = Store(database)
    for number in range(33):
        store.put("configmaps", {**item, "data": {"n": str(number)}})
    for current in (store, Store(database)):
        assert [change.version for change in current.changes("configmaps", 25)] == list(range(26, 34))
        assert current.changes("configmaps", 33) == []
        for unknown in (10, 34):
            with pytest.raises(ApiError) as error:
                current.changes("configmaps", unknown)
            assert error.value.code == 410
    database.close()


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from localcluster.api.server import ApiServer

    async def main():
        async with ApiServer(Path(sys.argv[1]), token="t") as server:
            print(server.port, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.mark.parametrize("after_s", [0.15, 0.4])
def test_no_answered_write_is_lost_when_the_server_is_killed_while_it_writes(serve, tmp_path, after_s):
    import httpx

    path = "/api/v1/namespaces/default/configmaps"
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    answered, asked = {}, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        killer = threading.Timer(after_s, os.kill, (process.pid, signal.SIGKILL))
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer t"}) as http, suppress(httpx.HTTPError):
            for number in itertools.count():
                asked = f"n{number}"
                made = http.post(path, json={"metadata": {"name": asked}, "data": {"n": str(number)}}).json()
                answered[asked] = made
                if number == 0:
                    killer.start()
                if number % 5 == 4:
                    asked = f"n{number - 1}"
                    http.delete(f"{path}/{asked}").raise_for_status()
                    del answered[asked]
        killer.join()
    assert len(answered) > 5
    with serve(tmp_path) as api:
        listed = api.ok("GET", path)
        there = {item["metadata"]["name"]: item for item in listed["items"]}
        # The one that was under way may have happened or not.
        there.pop(asked, None)
        answered.pop(asked, None)
        assert there == answered
        highest = max(int(item["metadata"]["resourceVersion"]) for item in answered.values())
        assert int(listed["metadata"]["resourceVersion"]) >= highest
        assert int(api.config_map("after")["metadata"]["resourceVersion"]) > highest

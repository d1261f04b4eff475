"""Watches: what a client that lists and then watches gets to know."""

import contextlib
import gc
import json
import socket
import threading
import time

import pytest

from localcluster.api import persistence, watch

MAPS = "/api/v1/namespaces/default/configmaps"


def patch(api, name, **data):
    return api.ok("PATCH", f"{MAPS}/{name}", {"data": data}, patch="merge-patch+json")


def brief(event):
    return event[0], event[1]["metadata"]["name"]


def test_a_watch_goes_on_where_the_list_ended(api):
    api.config_map("before")
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    api.config_map("a", {"x": "1"})
    patch(api, "a", x="2")
    with api.watch(MAPS, resourceVersion=version) as events:
        assert [brief(next(events)) for _ in range(2)] == [("ADDED", "a"), ("MODIFIED", "a")]
        gone = api.ok("DELETE", f"{MAPS}/a")
        type_, last = next(events)
    assert (type_, last["data"], last["metadata"]["uid"]) == ("DELETED", {"x": "2"}, gone["details"]["uid"])
    assert int(last["metadata"]["resourceVersion"]) > int(version) + 2


def test_without_a_version_what_is_there_comes_first(api):
    api.config_map("there", labels={"w": "first"})
    for params in ({}, {"resourceVersion": "0"}):
        with api.watch(MAPS, labelSelector="w=first", **params) as events:
            assert brief(next(events)) == ("ADDED", "there")


def test_initial_events_end_with_a_bookmark(api):
    api.config_map("initial", labels={"w": "initial"})
    params = {"labelSelector": "w=initial", "sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    with api.watch(MAPS, resourceVersionMatch="NotOlderThan", **params) as events:
        assert brief(next(events)) == ("ADDED", "initial")
        type_, mark = next(events)
        patch(api, "initial", x="1")
        assert brief(next(events)) == ("MODIFIED", "initial")
    assert type_ == "BOOKMARK"
    assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (mark["kind"], int(mark["metadata"]["resourceVersion"]) > 0) == ("ConfigMap", True)
    assert api("GET", MAPS, watch="1", sendInitialEvents="true").status_code == 400


def test_what_leaves_the_selection_is_deleted_for_its_watcher(api):
    api.config_map("wanderer", labels={"w": "in"})
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    with api.watch(MAPS, labelSelector="w=in", resourceVersion=version) as live:
        for label in ("out", "away", "in"):
            body = {"metadata": {"labels": {"w": label}}}
            api.ok("PATCH", f"{MAPS}/wanderer", body, patch="merge-patch+json")
        seen = [next(live) for _ in range(2)]
    with api.watch(MAPS, labelSelector="w=in", resourceVersion=version) as replayed:
        assert [next(replayed) for _ in range(2)] == seen
    assert [brief(event) for event in seen] == [("DELETED", "wanderer"), ("ADDED", "wanderer")]
    assert seen[0][1]["metadata"]["labels"] == {"w": "in"}


def test_one_object_can_be_watched(api):
    for name in ("one", "other"):
        api.config_map(name)
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    for path, params in ((MAPS, {"fieldSelector": "metadata.name=one"}), (f"{MAPS}/one", {})):
        with api.watch(path, resourceVersion=version, **params) as events:
            patch(api, "other", x=str(time.time()))
            patch(api, "one", x=str(time.time()))
            assert brief(next(events)) == ("MODIFIED", "one")


def test_a_watch_ends_after_its_time_with_a_bookmark(api):
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    start = time.monotonic()
    with api.watch(MAPS, resourceVersion=version, timeoutSeconds="1", allowWatchBookmarks="true") as events:
        types = [(type_, item["metadata"]["resourceVersion"]) for type_, item in events]
    assert types == [("BOOKMARK", version)]
    assert 0.9 < time.monotonic() - start < 3


def test_bookmarks_tell_quiet_watchers_how_far_the_world_is(api, monkeypatch):
    monkeypatch.setattr(watch, "BOOKMARK_S", 0.2)
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    params = {"allowWatchBookmarks": "true", "resourceVersion": version}
    with api.watch("/api/v1/namespaces/default/secrets", **params) as events:
        api.config_map("elsewhere")
        type_, mark = next(events)
    assert type_ == "BOOKMARK"
    assert int(mark["metadata"]["resourceVersion"]) == int(version) + 1


@pytest.mark.parametrize("version", ["99999999", "1"])
def test_a_version_that_is_not_known_is_gone(serve, tmp_path, monkeypatch, version):
    monkeypatch.setattr(persistence, "HISTORY", 10)
    monkeypatch.setattr(persistence, "_PRUNE_EVERY", 5)
    with serve(tmp_path) as api:
        api.config_map("busy")
        for number in range(20):
            patch(api, "busy", x=str(number))
        with api.watch(MAPS, resourceVersion=version) as events:
            found = list(events)
        assert [type_ for type_, _ in found] == ["ERROR"]
        assert (found[0][1]["code"], found[0][1]["reason"]) == (410, "Expired")
        recent = str(int(api.ok("GET", MAPS)["metadata"]["resourceVersion"]) - 3)
        with api.watch(MAPS, resourceVersion=recent) as events:
            assert [next(events)[1]["data"]["x"] for _ in range(3)] == ["17", "18", "19"]


def test_events_come_as_tables_and_as_metadata(api):
    api.config_map("tabled", labels={"w": "table"})
    for kind in ("Table", "PartialObjectMetadata"):
        headers = {"Accept": f"application/json;as={kind};v=v1;g=meta.k8s.io"}
        params = {"watch": "true", "labelSelector": "w=table", "timeoutSeconds": "1"}
        with api.http.stream("GET", MAPS, params=params, headers=headers) as response:
            event = json.loads(next(response.iter_lines()))
        assert (event["type"], event["object"]["kind"]) == ("ADDED", kind)


def test_an_event_arrives_at_once(api):
    api.config_map("swift")
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    delays = []
    with api.watch(MAPS, resourceVersion=version) as events:
        for number in range(20):
            answered = []

            def write(number=number, answered=answered):
                answered.append(time.perf_counter())
                patch(api, "swift", x=str(number))

            thread = threading.Thread(target=write)
            thread.start()
            next(events)
            delays.append(time.perf_counter() - answered[0])
            thread.join()
    # The write included, when nothing else wants the machine.
    assert min(delays) < 0.03


def test_a_watcher_that_does_not_read_is_cut_off_and_no_burden(api, monkeypatch):
    monkeypatch.setattr(watch, "_LONGEST_QUEUE", 5)
    api.config_map("large", {"x": "y" * 300_000})
    version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    with socket.create_connection(("127.0.0.1", api.server.port)) as lazy:
        token = api.http.headers["Authorization"]
        request = f"GET {MAPS}?watch=1&resourceVersion={version} HTTP/1.1\r\nHost: localhost\r\n"
        lazy.sendall(f"{request}Authorization: {token}\r\n\r\n".encode())
        time.sleep(0.2)
        slowest = 0.0
        for number in range(100):
            start = time.monotonic()
            api.ok("PATCH", f"{MAPS}/large", {"data": {"n": str(number)}}, patch="merge-patch+json")
            slowest = max(slowest, time.monotonic() - start)
        lazy.settimeout(10)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := lazy.recv(1 << 20):
                received += len(piece)
                if piece.endswith(b"0\r\n\r\n"):
                    break
    assert slowest < 5
    # It was told of a part, then the stream ended: it comes back with the last version that it saw.
    assert received < 80 * 300_000


def test_watches_of_clients_that_left_end(api):
    def watches():
        gc.collect()
        return sum(isinstance(thing, watch.Watch) for thing in gc.get_objects())

    for _ in range(20):
        with api.watch(MAPS, resourceVersion="0", timeoutSeconds="600"):
            pass
    deadline = time.monotonic() + 5
    while (left := watches()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == 0


def test_the_server_ends_with_watches_open(serve, tmp_path):
    with serve(tmp_path) as api:
        api.config_map("x")
        with api.watch(MAPS) as events:
            next(events)
            start = time.monotonic()
            api.stop()
            assert list(events) == []
    assert time.monotonic() - start < 3


def test_after_a_restart_a_watch_goes_on_from_its_version(serve, tmp_path):
    with serve(tmp_path) as api:
        api.config_map("kept")
        version = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
        patch(api, "kept", x="1")
        api.config_map("short-lived")
        api.ok("DELETE", f"{MAPS}/short-lived")
    with serve(tmp_path) as api, api.watch(MAPS, resourceVersion=version) as events:
        patch(api, "kept", x="2")
        assert [brief(next(events)) for _ in range(4)] == [
            ("MODIFIED", "kept"),
            ("ADDED", "short-lived"),
            ("DELETED", "short-lived"),
            ("MODIFIED", "kept"),
        ]


def test_an_idle_server_with_watches_uses_no_time(api):
    with contextlib.ExitStack() as watches:
        for kind in ("pods", "services", "configmaps", "secrets"):
            watches.enter_context(api.watch(f"/api/v1/{kind}", resourceVersion="0"))
        time.sleep(0.2)
        start = time.process_time()
        time.sleep(1)
        assert time.process_time() - start < 0.05

"""Logs of pods over HTTP."""

import os
import threading
import time

import pytest

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def api(serve, folder, tmp_path_factory):
    def log_file(namespace, pod, previous):
        path = folder / (f"{pod}.log.1" if previous else f"{pod}.log")
        return path if path.exists() else None

    with serve(tmp_path_factory.mktemp("api"), logs=log_file) as running:
        yield running


@pytest.fixture
def pod(api, folder):
    """Makes a pod with a log; returns the log's file."""

    def make(name, text="", containers=("main",)):
        spec = {"containers": [{"name": container, "image": "i:1"} for container in containers]}
        api.ok("POST", PODS, {"metadata": {"name": name}, "spec": spec})
        (folder / f"{name}.log").write_text(text)
        return folder / f"{name}.log"

    return make


def log(api, name, **params):
    response = api("GET", f"{PODS}/{name}/log", **params)
    assert response.status_code == 200, response.text
    return response.text


@pytest.mark.parametrize(
    "text", ["", "\n", "one", "one\n", "one\ntwo\nthree\n", "one\n\n\ntwo", "x" * 200_000 + "\nend\n"]
)
def test_the_tail_is_the_last_lines(api, pod, text, request):
    name = f"tail-{abs(hash(text))}"
    pod(name, text)
    lines = text.splitlines(keepends=True)
    assert log(api, name) == text
    for wanted in (0, 1, 2, 100):
        assert log(api, name, tailLines=wanted) == "".join(
            lines[len(lines) - wanted :] if wanted < len(lines) else lines
        )


def test_parts_of_a_log(api, pod):
    path = pod("parts", "one\ntwo\nthree\n")
    assert log(api, "parts", limitBytes=5) == "one\nt"
    assert log(api, "parts", sinceSeconds=60) == "one\ntwo\nthree\n"
    os.utime(path, (time.time() - 3600,) * 2)
    assert log(api, "parts", sinceSeconds=60) == ""
    assert log(api, "parts", sinceTime="2020-01-01T00:00:00Z") == "one\ntwo\nthree\n"
    assert log(api, "parts", tailLines=1, limitBytes=2) == "th"
    stamped = api("GET", f"{PODS}/parts/log", timestamps="true")
    assert (stamped.text, "timestamps" in stamped.headers["Warning"]) == ("one\ntwo\nthree\n", True)


def test_the_previous_run_has_a_log_of_its_own(api, pod):
    path = pod("again", "second\n")
    missing = api("GET", f"{PODS}/again/log", previous="true")
    path.with_name("again.log.1").write_text("first\n")
    assert (missing.status_code, "previous terminated" in missing.json()["message"]) == (400, True)
    assert log(api, "again", previous="true") == "first\n"


def test_what_cannot_be_shown_is_said(api, pod, folder):
    pod("two", containers=("a", "b"))
    for name, params, says in (
        ("two", {}, "choose one of: [a b]"),
        ("two", {"container": "c"}, "container c is not valid"),
        ("two", {"container": "a", "tailLines": "x"}, "tailLines"),
        ("two", {"container": "a", "limitBytes": "0"}, "limitBytes"),
        ("two", {"container": "a", "sinceTime": "yesterday"}, "sinceTime"),
    ):
        response = api("GET", f"{PODS}/{name}/log", **params)
        assert (response.status_code, says in response.json()["message"]) == (400, True), params
    (folder / "two.log").unlink()
    waiting = api("GET", f"{PODS}/two/log", container="a")
    assert "waiting to start: ContainerCreating" in waiting.json()["message"]
    assert api("GET", f"{PODS}/nobody/log").status_code == 404


def test_following_goes_on_through_a_restart_until_the_pod_has_ended(api, pod):
    path = pod("followed", "one\ntwo\n")
    pieces, first = [], threading.Event()

    def follow():
        params = {"follow": "true", "tailLines": "1"}
        with api.http.stream("GET", f"{PODS}/followed/log", params=params) as response:
            for piece in response.iter_text():
                pieces.append(piece)
                first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(5)
    with path.open("a") as file:
        file.write("three\n")
        file.flush()
        path.rename(path.with_name("followed.log.1"))
        path.write_text("four\n")
        file.write("last words\n")
    time.sleep(0.5)
    status = {"status": {"phase": "Succeeded"}}
    api.ok("PATCH", f"{PODS}/followed/status", status, patch="merge-patch+json")
    thread.join(5)
    assert not thread.is_alive()
    text = "".join(pieces)
    assert text.startswith("two\nthree\n")
    assert sorted(text.split()) == ["four", "last", "three", "two", "words"]


def test_following_goes_on_when_the_log_is_cut(api, pod):
    path = pod("cut", "a long first line\n")
    pieces, first = [], threading.Event()

    def follow():
        with api.http.stream("GET", f"{PODS}/cut/log", params={"follow": "true"}) as response:
            for piece in response.iter_text():
                pieces.append(piece)
                first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(5)
    with path.open("a") as file:
        os.truncate(path, 0)
        file.write("two\n")
        file.flush()
        time.sleep(0.5)
        file.write("three\n")
    time.sleep(0.5)
    api.ok("DELETE", f"{PODS}/cut")
    thread.join(5)
    assert "".join(pieces) == "a long first line\ntwo\nthree\n"


def test_following_ends_with_the_pod(api, pod):
    pod("brief", "hello\n")
    result = []
    thread = threading.Thread(target=lambda: result.append(log(api, "brief", follow="true")))
    thread.start()
    time.sleep(0.3)
    api.ok("DELETE", f"{PODS}/brief")
    thread.join(5)
    assert result == ["hello\n"]

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from blueprints.workspace import Workspace
from localcluster import background
from localcluster.ports import free_ports
from localcluster.render import ManifestError
from localcluster.service import LocalService, ServiceError
from localcluster.state import alive, read_state, started_at, write_state


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    return folder


@pytest.fixture
def service(overlay, model, workspace):
    def make(port=0, **settings):
        return LocalService.from_overlay("shop", overlay, model_dir=model, port=port, workspace=workspace, **settings)

    return make


def get(url):
    answer = httpx.get(url, timeout=5)
    assert answer.status_code == 200
    return answer.json()


def gone(pid):
    return started_at(pid) == 0


def test_a_service_runs_as_its_manifest_says(service, model, workspace):
    events = []

    async def scenario():
        async with service(on_event=events.append) as running:
            await running.wait_ready(20)
            told = {role: get(running.urls[role]) for role in ("transformer", "explainer", "predictor")}
            assert {status.state for status in running.status()} == {"ready"}
            return running.urls, told

    urls, told = asyncio.run(scenario())
    predictor, transformer = told["predictor"]["options"], told["transformer"]["options"]
    assert predictor["model_name"] == "till"
    assert transformer["model_name"] == "shop"
    assert {part["options"]["model_dir"] for part in told.values()} == {str(model)}
    assert f"http://{transformer['predictor_host']}" == urls["predictor"]
    assert urls["predictor-grpc"] == f"127.0.0.1:{predictor['grpc_port']}"
    environment = told["transformer"]["environment"]
    assert environment["DECISIONS_URL"] == "sqlite:///decisions.db"
    assert environment["BLUEPRINTS_HOME"] == str(workspace.root)
    assert {event.process for event in events if event.happening == "ready"} == {
        "shop-predictor",
        "shop-transformer",
        "shop-explainer",
    }
    assert all(gone(part["pid"]) for part in told.values())


def test_ports_follow_each_other_from_the_one_that_is_asked_for(service):
    running = service(port=18080)
    assert running.urls == {
        "transformer": "http://127.0.0.1:18080",
        "explainer": "http://127.0.0.1:18081",
        "predictor": "http://127.0.0.1:18082",
        "predictor-grpc": "127.0.0.1:18083",
    }


@pytest.mark.parametrize("port", [-1, 65_533, 100_000])
def test_a_port_that_leaves_no_room_is_refused(service, port):
    with pytest.raises(ManifestError, match="port"):
        service(port=port)


def test_a_taken_port_is_told_before_anything_starts(service, workspace):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        async def scenario():
            async with service(port=port):
                pytest.fail("it started")

        with pytest.raises(ServiceError, match=r"which shop-\w+ needs, is taken.*--port"):
            asyncio.run(scenario())
    assert read_state(workspace.services / "shop") is None


def test_a_missing_package_is_told_with_what_makes_one(overlay, tmp_path):
    with pytest.raises(ManifestError, match="blueprints run shop"):
        LocalService.from_overlay("shop", overlay, model_dir=tmp_path / "nowhere")


def test_components_that_name_different_packages_are_refused(overlay, service):
    text = (overlay / "service.yaml").read_text()
    (overlay / "service.yaml").write_text(text.replace('value: "pvc://models/shop"', 'value: "pvc://models/other"'))
    with pytest.raises(ManifestError, match="different model packages"):
        service()


def test_a_service_in_the_background_is_found_and_stopped(overlay, model, workspace):
    state = background.start("shop", overlay, model_dir=model, port=0, workspace=workspace, timeout_s=20)
    try:
        assert get(state.urls["transformer"])["options"]["model_name"] == "shop"
        found = background.status("shop", workspace=workspace)
        assert found is not None
        assert found.ready
        assert {process.name for process in found.processes} == {"shop-predictor", "shop-transformer", "shop-explainer"}
        with pytest.raises(ServiceError, match=f"process {state.pid}"):
            background.start("shop", overlay, model_dir=model, port=0, workspace=workspace)
    finally:
        assert background.stop("shop", workspace=workspace)
    assert gone(state.pid)
    assert all(gone(process.pid) for process in state.processes)
    assert background.status("shop", workspace=workspace) is None
    assert not background.stop("shop", workspace=workspace)


def test_a_service_that_does_not_start_in_the_background_says_why_and_leaves_nothing(overlay, model, workspace):
    text = (overlay / "service.yaml").read_text()
    (overlay / "service.yaml").write_text(text.replace("--model_dir=/mnt/models, --http", "--exit=3, --say=oh, --http"))
    with pytest.raises(ServiceError, match=r"shop-predictor: ended with exit code 3\noh"):
        background.start("shop", overlay, model_dir=model, port=0, workspace=workspace, timeout_s=20)
    assert background.status("shop", workspace=workspace) is None


def test_nothing_is_left_of_a_background_service_whose_supervisor_was_killed(overlay, model, workspace):
    state = background.start("shop", overlay, model_dir=model, port=0, workspace=workspace, timeout_s=20)
    os.kill(state.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(state.pid)], timeout=5)
    assert background.status("shop", workspace=workspace) is None
    assert not background.stop("shop", workspace=workspace)
    deadline = time.monotonic() + 10
    while not all(gone(process.pid) for process in state.processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(gone(process.pid) for process in state.processes)


def test_a_recycled_process_id_is_never_killed(overlay, model, workspace):
    state = background.start("shop", overlay, model_dir=model, port=0, workspace=workspace, timeout_s=20)
    background.stop("shop", workspace=workspace)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        recycled = [process.model_copy(update={"pid": bystander.pid}) for process in state.processes]
        old = state.model_copy(update={"pid": bystander.pid, "started": state.started - 100})
        old = old.model_copy(update={"processes": tuple(p.model_copy(update={"started": 1.0}) for p in recycled)})
        write_state(workspace.services / "shop", old)
        assert background.status("shop", workspace=workspace) is None
        assert not background.stop("shop", workspace=workspace)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_damaged_state_file_counts_as_none(workspace):
    folder = workspace.services / "shop"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"name": "shop", "pid": ')
    assert background.status("shop", workspace=workspace) is None
    assert not background.stop("shop", workspace=workspace)


def test_only_the_process_that_started_then_counts_as_alive():
    mine = started_at(os.getpid())
    assert alive(os.getpid(), mine)
    assert not alive(os.getpid(), mine - 60)
    assert not alive(2**22 + 1, 0)


def test_sigterm_ends_a_service_in_the_foreground(service):
    pids = []

    async def scenario():
        async with service() as running:
            await running.wait_ready(20)
            pids.extend(status.pid for status in running.status())
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await running.run()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids)


def test_free_ports_are_distinct():
    assert len(set(free_ports(8))) == 8

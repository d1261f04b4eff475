"""`blueprints rollout` on a real API server: what it says, and what it returns."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer import Exit

from blueprints.governance.rollout.adapters.assembly import ServiceRollout
from blueprints.governance.rollout.adapters.cluster import HTTP_ROUTES, INFERENCE_SERVICES, Cluster
from blueprints.governance.rollout.adapters.records import STATE
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.evidence import Evidence
from blueprints.governance.rollout.observation import Counters, Histogram
from blueprints.governance.rollout.state import Phase, Stage, State
from cli.deploy import _refuse_during_rollout
from cli.rollout import view
from tests.api_server import CONTEXT, NAMESPACE, api_server, overlay, with_service

NEW = "pvc://models/credit-risk/0123456789ab"
WHERE = ("--context", CONTEXT, "--namespace", NAMESPACE)


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with api_server(tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield with_service(kubeconfig)


@pytest.fixture
def under_way(cluster: Cluster) -> ServiceRollout:
    """A rollout at 25 %, at which nobody works."""
    rollout = ServiceRollout.of(cluster, "credit-risk", registry=None)
    state = rollout.start(NEW, RolloutConfig.laptop(), by="alice")
    stable = Counters(requests=300, errors=3, latency=Histogram(bounds=(0.01, 0.1), counts=(250, 50, 0)))
    candidate = Counters(requests=100, errors=2, latency=Histogram(bounds=(0.01, 0.1), counts=(50, 50, 0)))
    at_25 = state.model_copy(
        update={
            "phase": Phase.ANALYSING,
            "weight": 25,
            "step": 1,
            "entered_at": time.time(),
            "reason": "8 s of this step remain",
            "evidence": Evidence(looks=3, stable=stable, candidate=candidate),
        }
    )
    rollout.traffic.write(at_25, rollout.traffic.read().version)
    return rollout


def printed(state: State, engine: str = "") -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(view(state, engine))
    return capture.get()


def test_the_view_says_what_one_wants_to_know(under_way):
    text = printed(under_way.traffic.read().state)
    for words in (
        "credit-risk analysing",
        "step 2 of 4",
        "25 % candidate",
        "credit-risk/champion",
        "credit-risk/0123456789ab",
        "2.0% (0.6% to 7.0%)",
        "8 s of this step remain",
        "nobody works at it: blueprints rollout resume credit-risk",
    ):
        assert words in text
    assert "worked at by engine-1" in printed(under_way.traffic.read().state, "engine-1")


@pytest.mark.usefixtures("under_way")
def test_status_for_machines(blueprints):
    done = blueprints("rollout", "status", "credit-risk", *WHERE, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["phase"], said["candidate"]["weight"], said["candidate"]["error_rate"]) == ("analysing", 25, 0.02)
    assert said["engine"] == ""


def test_pause_and_abort_work_without_an_engine(blueprints, under_way, cluster):
    done = blueprints("rollout", "pause", "credit-risk", *WHERE, "--json")
    assert (done.returncode, json.loads(done.stdout)["phase"]) == (0, "paused"), done.stderr
    done = blueprints("rollout", "abort", "credit-risk", *WHERE)
    assert done.returncode == 0, done.stderr
    assert "aborted" in done.stdout
    assert under_way.traffic.read().weight == 0
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is not None
    done = blueprints("rollout", "resume", "credit-risk", *WHERE)
    assert done.returncode == 5
    done = blueprints("rollout", "promote", "credit-risk", *WHERE)
    assert done.returncode == 1
    assert "only a candidate with traffic on it can be promoted" in done.stderr
    done = blueprints("rollout", "history", "credit-risk", *WHERE, "--json")
    (ended,) = json.loads(done.stdout)["rollouts"]
    assert (ended["phase"], ended["started_by"], ended["candidate_model"]) == ("aborted", "alice", NEW)


def test_a_candidate_that_never_becomes_ready_exits_with_four(blueprints, tmp_path):
    config = tmp_path / "rollout.yaml"
    config.write_text("{interval_s: 0.1, ready_limit_s: 0.3}")
    done = blueprints("rollout", "start", "credit-risk", "--package", NEW, "--config", str(config), *WHERE)
    assert done.returncode == 4, done.stderr
    assert "rolled back" in done.stdout
    assert "not ready" in done.stdout


def test_what_cannot_be_is_said_and_changes_nothing(blueprints, cluster):
    before = cluster.require(HTTP_ROUTES, "credit-risk")
    for arguments, words, code in (
        (("status", "credit-risk"), "there is no rollout of 'credit-risk'", 3),
        (("start", "credit-risk"), "without a registry give a version", 1),
        (("start", "credit-risk", "--package", NEW, "--steps", "50,x"), "give whole percentages", 1),
        (("start", "credit-risk", "--package", NEW, "--steps", "50,20"), "ascend", 1),
        (("start", "nothing", "--package", NEW), "there is no InferenceService 'nothing'", 1),
    ):
        done = blueprints("rollout", *arguments, *WHERE)
        assert done.returncode == code, done.stdout + done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert cluster.require(HTTP_ROUTES, "credit-risk") == before
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is None


def test_a_state_that_cannot_be_read_is_aborted_as_every_command_recommends(blueprints, under_way, cluster):
    unreadable = {"metadata": {"annotations": {STATE: '{"version":9}'}}}
    cluster.merge(HTTP_ROUTES, "credit-risk", unreadable)
    done = blueprints("rollout", "status", "credit-risk", *WHERE)
    assert done.returncode == 1
    assert "abort it" in done.stderr
    done = blueprints("rollout", "abort", "credit-risk", *WHERE, "--json")
    assert (done.returncode, json.loads(done.stdout)["phase"]) == (0, "aborted"), done.stderr
    assert under_way.traffic.read()[:2] == (None, 0)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [('{"version":9}', "blueprints rollout abort credit-risk"), (None, "blueprints rollout promote credit-risk")],
)
def test_a_deployment_does_not_run_over_what_only_a_rollout_knows(under_way, cluster, capsys, annotation, words):
    stored = under_way.traffic.read()
    failed = stored.state.model_copy(update={"phase": Phase.FAILED, "stage": Stage.AWAIT_STABLE, "weight": 100})
    under_way.traffic.write(failed, stored.version)
    if annotation is not None:
        cluster.merge(HTTP_ROUTES, "credit-risk", {"metadata": {"annotations": {STATE: annotation}}})
    # kubectl sends its token over TLS only, which this server has not.
    where = SimpleNamespace(objects=lambda *_: [cluster.require(HTTP_ROUTES, "credit-risk")])
    with pytest.raises(Exit):
        _refuse_during_rollout(where, overlay())
    assert words in " ".join(capsys.readouterr().err.split())

"""The figures of canary rollouts: real clusters, gateway and model servers, and the engine in simulation."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cluster import PROJECT, blueprints, kubectl_in, laptop_cluster, overlay_with
from benchmarks.figures import Figure, figure
from benchmarks.packages import train_package
from benchmarks.steady import Answer, Stream, stream
from blueprints.workspace import Workspace

if TYPE_CHECKING:
    from blueprints.governance.registry import Registry
    from blueprints.governance.rollout.adapters.assembly import ServiceRollout
    from blueprints.governance.rollout.state import State

Progress = Callable[[str], None]

SERVICE = "credit-risk"
NAMESPACE = "blueprints-local"
RATE = 50
SIMULATED = 1000
_TWO_REPLICAS = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: credit-risk}
spec:
  predictor: {minReplicas: 2, maxReplicas: 2}
  transformer: {minReplicas: 2, maxReplicas: 2}
"""
_LONGEST_S = 400


@dataclass(frozen=True)
class _Bench:
    """What the measurements share.

    Attributes:
        workspace: Where the cluster keeps everything.
        overlay: The local overlay with two replicas of predictor and transformer.
        url: Where the service decides.
        bodies: Applications, one a line.
        versions: Model packages: the first champion, and another.
        scratch: For files of the request stream.
    """

    workspace: Workspace
    overlay: Path
    url: str
    bodies: Path
    versions: tuple[str, str]
    scratch: Path

    @contextmanager
    def requests(self, rate: float = RATE, name: str = "requests") -> Iterator[Stream]:
        """A stream of requests for as long as the context lasts."""
        file = self.scratch / f"{name}-{time.monotonic_ns()}.jsonl"
        with stream(self.url, self.bodies, rate=rate, seconds=_LONGEST_S, file=file) as running:
            yield running

    def rollout(self) -> ServiceRollout:
        """The rollout engine's parts for the service."""
        from blueprints.governance.rollout.adapters.assembly import ServiceRollout
        from blueprints.governance.rollout.adapters.cluster import Cluster
        from localcluster.daemon import KUBECONFIG

        cluster = Cluster.connect(NAMESPACE, kubeconfig=self.workspace.cluster / KUBECONFIG)
        return ServiceRollout.of(cluster, SERVICE, registry=_registry(self.workspace))

    def start_command(self, version: str, steps: str, wait_s: float) -> list[str]:
        """The command line that starts a rollout and works at it."""
        flags = ["--package", version, "--steps", steps, "--wait", str(wait_s), "--json"]
        return [sys.executable, "-m", "cli.main", "rollout", "start", SERVICE, *flags]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of commands in the workspace."""
        return {**os.environ, "BLUEPRINTS_HOME": str(self.workspace.root)}


def measure(progress: Progress) -> dict[str, Figure]:
    """Measures everything; takes about ten minutes.

    Args:
        progress: Told what is measured next.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        progress("training two model packages")
        workspace = Workspace(scratch / "home")
        versions = _register(workspace, scratch)
        progress("starting clusters")
        figures = _starts(scratch)
        with laptop_cluster(workspace) as state:
            overlay = overlay_with(scratch / "overlay", _TWO_REPLICAS)
            begun = time.monotonic()
            blueprints(workspace, "deploy", SERVICE, f"--overlay={overlay}")
            figures["deploy_s"] = figure(
                time.monotonic() - begun, "s", "`blueprints deploy` until five processes of credit-risk are ready"
            )
            url = f"http://{SERVICE}.localhost:{state.gateway_port}/predict"
            bench = _Bench(workspace, overlay, url, scratch / "applications.jsonl", versions, scratch)
            figures |= _weights(bench, progress)
            figures |= _without_failures(bench, progress)
            figures |= _rollbacks(bench, progress)
            figures |= _kills(bench, progress)
    return figures | _simulated(progress)


def _register(workspace: Workspace, scratch: Path) -> tuple[str, str]:
    """Registers two packages, the first as champion."""
    registry = _registry(workspace)
    packages = [train_package(scratch / f"package-{seed}", "german", seed) for seed in (1, 2)]
    registered = [registry.log_and_register(SERVICE, package, reports={}) for package in packages]
    registry.promote(registered[0], by="benchmark", reason="the first")
    names = [column.name for column in packages[0].signature.inputs]
    rows = [{name: row[name] for name in names} for row in packages[0].reference().to_pylist()]
    (scratch / "applications.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return packages[0].version, packages[1].version


def _registry(workspace: Workspace) -> Registry:
    from blueprints.governance.registry import Registry

    return Registry(workspace=workspace)


def _starts(scratch: Path) -> dict[str, Figure]:
    seconds = []
    for number in range(5):
        begun = time.monotonic()
        with laptop_cluster(Workspace(scratch / f"empty-{number}")):
            seconds.append(time.monotonic() - begun)
    return {
        "cluster_up_s": figure(
            statistics.median(seconds),
            "s",
            "from nothing to an API server, controllers and a gateway that answer; empty workspace, median of five",
        )
    }


def _weights(bench: _Bench, progress: Progress) -> dict[str, Figure]:
    """Weights as the engine writes them, seen from a client."""
    from blueprints.governance.rollout import machine
    from blueprints.governance.rollout.config import RolloutConfig
    from blueprints.governance.rollout.engine import order

    rollout, (stable, candidate) = bench.rollout(), bench.versions
    rollout.start(candidate, RolloutConfig.laptop(), by="benchmark")
    kubectl_in(bench.workspace, *_waiting_for(f"{SERVICE}-candidate"), timeout_s=120)

    def weigh(weight: int) -> None:
        stored = rollout.traffic.read()
        if stored.state is None:
            raise RuntimeError("the rollout is gone")
        rollout.traffic.write(stored.state.model_copy(update={"weight": weight}), stored.version)

    errors, delays = [], []
    for weight in (5, 25, 50):
        progress(f"1,000 requests at weight {weight}")
        weigh(weight)
        time.sleep(1)
        with bench.requests(rate=200) as requests:
            while len(requests.answers()) < 1000:
                time.sleep(0.2)
        # All are answered by now; the first thousand that were sent, whichever version is the faster.
        answers = sorted(requests.answers(), key=lambda answer: answer.at)[:1000]
        share = sum(answer.version == candidate for answer in answers) / len(answers)
        errors.append(abs(share - weight / 100))
        progress(f"measured {share:.1%}")
    progress("changing weights")
    weigh(0)
    time.sleep(1)
    with bench.requests(rate=200) as requests:
        for weight, old in ((100, stable), (0, candidate)) * 5:
            time.sleep(1)
            begun = time.time()
            weigh(weight)
            time.sleep(2)
            late = [answer.at for answer in requests.answers(begun) if answer.version == old]
            delays.append(max(late, default=begun) - begun)
    order(rollout.traffic, lambda state: machine.abort(state, now=time.time(), by="benchmark"))
    return {
        "weight_error_max": figure(
            max(errors),
            "fraction",
            "largest difference of the candidate's measured share to its weight, 1,000 requests at 5, 25, 50 %; "
            "baseline: one standard deviation of a fair draw at 50 %",
            baseline=(0.25 / 1000) ** 0.5,
        ),
        "weight_change_s": figure(
            statistics.median(delays),
            "s",
            "from the write of a weight (100 after 0, 0 after 100) to the last request that the other version got; "
            "200 requests/s, median of ten changes",
        ),
        "weight_change_max_s": figure(max(delays), "s", "the longest of the same changes"),
    }


def _without_failures(bench: _Bench, progress: Progress) -> dict[str, Figure]:
    """One stream of requests through everything that may not lose one."""
    candidate = bench.versions[1]
    phases: dict[str, tuple[float, float]] = {}
    with bench.requests() as requests:

        @contextmanager
        def phase(name: str) -> Iterator[None]:
            progress(name)
            begun = time.time()
            yield
            phases[name] = (begun, time.time())

        with phase("rollout to promotion"):
            command = bench.start_command(candidate, "5,25,50,100", 5)
            done = subprocess.run(
                command, cwd=PROJECT, env=bench.environment, capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                raise RuntimeError(f"the rollout was not promoted: {done.stdout[-1500:]} {done.stderr[-500:]}")
        with phase("rolling update"):
            variable = {"name": "ROLLED", "value": "again"}
            service = _get(bench, "inferenceservice", SERVICE)
            spec = service["spec"]
            spec["transformer"]["containers"][0]["env"].append(variable)
            spec["predictor"]["model"]["env"] = [variable]
            patch = json.dumps({"spec": spec})
            kubectl_in(bench.workspace, "patch", "isvc", SERVICE, f"-n={NAMESPACE}", "--type=merge", f"--patch={patch}")
            for part in ("predictor", "transformer"):
                wait = ("rollout", "status", f"deployment/{SERVICE}-{part}", f"-n={NAMESPACE}", "--timeout=120s")
                kubectl_in(bench.workspace, *wait, timeout_s=130)
            time.sleep(5)
        for part in ("predictor", "transformer"):
            with phase(f"killed {part}"):
                os.kill(_pid(bench, part), signal.SIGKILL)
                time.sleep(6)
                kubectl_in(bench.workspace, *_waiting_for(SERVICE), timeout_s=60)
        answers = requests.answers()
    requests_in, failed_in = {}, {}
    for name, (begun, ended) in phases.items():
        there = [answer for answer in answers if begun <= answer.at < ended]
        requests_in[name], failed_in[name] = len(there), sum(not answer.good for answer in there)
        progress(f"{name}: {requests_in[name]} requests, {failed_in[name]} failed")
    transformer = "killed transformer"
    return {
        "failed_requests": figure(
            sum(failed_in.values()) - failed_in[transformer],
            "requests",
            f"of {sum(requests_in.values()) - requests_in[transformer]} at {RATE} requests/s through a rollout (5, 25, "
            "50, 100 %, promotion), a rolling update of predictor and transformer, and a killed predictor; "
            "two replicas of each",
        ),
        "failed_requests_killed_transformer": figure(
            failed_in[transformer],
            "requests",
            f"of {requests_in[transformer]} while one of two transformers is killed with SIGKILL: what it had been "
            "sent is lost, as nobody may send a decision twice",
        ),
    }


def _rollbacks(bench: _Bench, progress: Progress) -> dict[str, Figure]:
    """Candidates that turn bad, from their first bad answer at 25 % to their last answer."""
    seconds = {}
    for name, fault in (("errors", {"FAULT_ERROR_SHARE": "0.2"}), ("slow", {"FAULT_SLOWDOWN": "5"})):
        runs = []
        for number in range(3):
            progress(f"candidate with {name}, run {number + 1}")
            runs.append(_rollback(bench, fault))
            progress(f"rolled back after {runs[-1]:.1f} s")
        seconds[name] = runs
    return {
        "rollback_s": figure(
            max(statistics.median(runs) for runs in seconds.values()),
            "s",
            f"from the candidate's first bad answer at 25 % of {RATE} requests/s to its last answer; the slower of 20 "
            "percent errors and five times the latency, median of three rollouts each",
        ),
        **{
            f"rollback_{name}_s": figure(
                statistics.median(runs), "s", f"the same for {name}; longest {max(runs):.1f} s"
            )
            for name, runs in seconds.items()
        },
    }


def _rollback(bench: _Bench, fault: dict[str, str]) -> float:
    version = bench.versions[0]
    kubectl_in(
        bench.workspace, "delete", "isvc", f"{SERVICE}-candidate", f"-n={NAMESPACE}", "--ignore-not-found", timeout_s=90
    )
    candidate = _get(bench, "inferenceservice", SERVICE)
    candidate["metadata"] = {
        "name": f"{SERVICE}-candidate",
        "namespace": NAMESPACE,
        **{key: candidate["metadata"][key] for key in ("labels", "annotations")},
    }
    candidate.pop("status")
    container = candidate["spec"]["transformer"]["containers"][0]
    container["command"] = ["python", "-m", "benchmarks.faulty_transformer"]
    container["env"] += [{"name": key, "value": value} for key, value in fault.items()]
    file = bench.scratch / "candidate.json"
    file.write_text(json.dumps(candidate))
    kubectl_in(bench.workspace, "create", f"--filename={file}")
    with bench.requests() as requests:
        command = bench.start_command(version, "25,50,100", 30)
        done = subprocess.run(
            command, cwd=PROJECT, env=bench.environment, capture_output=True, text=True, timeout=300, check=False
        )
        time.sleep(1)
        answers = requests.answers()
    if done.returncode != 4:
        raise RuntimeError(f"exit code {done.returncode}, not rolled back: {done.stdout[-1500:]} {done.stderr[-500:]}")
    stable = [answer.seconds for answer in answers if answer.version not in {"", version}]
    slow = 3 * statistics.median(stable)
    bad = [answer for answer in answers if _bad(answer, version, slow)]
    theirs = [answer.at for answer in answers if answer.version == version or not answer.good]
    return max(theirs) - bad[0].at


def _bad(answer: Answer, version: str, slow: float) -> bool:
    return not answer.good or (answer.version == version and answer.seconds > slow)


def _kills(bench: _Bench, progress: Progress) -> dict[str, Figure]:
    """An engine that is killed after every transition, and goes on each time."""
    progress("killing the engine at every transition")
    kubectl_in(
        bench.workspace, "delete", "isvc", f"{SERVICE}-candidate", f"-n={NAMESPACE}", "--ignore-not-found", timeout_s=90
    )
    version = bench.versions[0]
    resume = [sys.executable, "-m", "cli.main", "rollout", "resume", SERVICE, "--json"]
    kills = 0
    before = _state(bench)
    with bench.requests() as requests:
        engine = _spawn(bench, bench.start_command(version, "25,50,100", 2))
        seen = 0
        deadline = time.monotonic() + _LONGEST_S
        while time.monotonic() < deadline:
            state = _state(bench)
            if state is not None and (before is None or state.rollout.id != before.rollout.id):
                if state.phase.over:
                    break
                if len(state.history) > seen:
                    seen = len(state.history)
                    engine.kill()
                    engine.wait()
                    kills += 1
                    progress(f"killed at {state.phase} {state.stage or ''} {state.weight} %")
                    engine = _spawn(bench, resume)
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            engine.wait(timeout=60)
        engine.kill()
        failed = sum(not answer.good for answer in requests.answers())
    state = _state(bench)
    champion = _registry(bench.workspace).by_alias(SERVICE, "champion")
    right = (
        state is not None
        and state.phase == "promoted"
        and champion is not None
        and champion.package_version == version
        and not _exists(bench, f"{SERVICE}-candidate")
    )
    progress(f"{kills} kills, {failed} failed requests, ended right: {right}")
    return {
        "kill_resume": figure(
            1.0 if right else 0.0,
            "fraction",
            f"rollouts that ended right (promoted, weights back, candidate gone, alias moved) though the engine was "
            f"killed after each of {kills} transitions; {failed} requests failed meanwhile",
        )
    }


def _simulated(progress: Progress) -> dict[str, Figure]:
    from blueprints.governance.rollout.config import RolloutConfig
    from blueprints.governance.rollout.simulation import Scenario, simulate
    from blueprints.governance.rollout.state import Phase

    config = RolloutConfig.laptop()
    progress(f"simulating {SIMULATED} rollouts of the same model")
    same = simulate(config, Scenario(), SIMULATED, seed=1)
    progress(f"simulating {SIMULATED} rollouts with 5 points of errors more")
    worse = simulate(config, Scenario(excess_errors=0.05), SIMULATED, seed=2)
    return {
        "false_rollback_rate": figure(
            same.share(Phase.ROLLED_BACK),
            "fraction",
            f"{SIMULATED} simulated rollouts of the same model, the laptop's settings; baseline: what they promise",
            baseline=config.false_rollback,
        ),
        "missed_bad_rate": figure(
            worse.share(Phase.PROMOTED),
            "fraction",
            f"{SIMULATED} simulated candidates with 5 points of errors more, promoted; baseline: what they promise",
            baseline=config.missed_bad,
        ),
        "rollout_s": figure(
            statistics.median(same.durations_s), "s", "median length of those rollouts of the same model, 50 requests/s"
        ),
    }


def _get(bench: _Bench, kind: str, name: str) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(
        kubectl_in(bench.workspace, "get", kind, name, f"--namespace={NAMESPACE}", "--output=json")
    )
    return item


def _exists(bench: _Bench, name: str) -> bool:
    arguments = ("get", "isvc", name, f"--namespace={NAMESPACE}", "--ignore-not-found", "--output=name")
    return bool(kubectl_in(bench.workspace, *arguments).strip())


def _waiting_for(service: str) -> list[str]:
    return ["wait", f"isvc/{service}", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=110s"]


def _pid(bench: _Bench, part: str) -> int:
    pods = json.loads(blueprints(bench.workspace, "status", SERVICE, "--json"))["pods"]
    return int(next(pod["pid"] for pod in pods if pod["name"].startswith(f"{SERVICE}-{part}-")))


def _state(bench: _Bench) -> State | None:
    return bench.rollout().traffic.read().state


def _spawn(bench: _Bench, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, cwd=PROJECT, env=bench.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.processes.runner import Backoff, bound_log
from localcluster.processes.supervisor import StartError, Supervisor

QUICK = Backoff(first_s=0.05, longest_s=0.2)
ROOT = Path(__file__).parents[2]


async def ask(spec, path="/"):
    def get():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{spec.ports['http']}{path}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    return await asyncio.to_thread(get)


async def until(condition, timeout_s=30):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # a condition has no event
            await asyncio.sleep(0.02)


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def run(scenario, tmp_path, **settings):
    """Runs a scenario with a supervisor; returns the events."""
    events = []

    async def main():
        async with Supervisor(tmp_path, on_event=events.append, **{"backoff": QUICK} | settings) as supervisor:
            await scenario(supervisor)

    asyncio.run(main())
    return events


def test_a_process_starts_becomes_ready_and_ends_with_the_supervisor(tiny, tmp_path):
    spec, pids = tiny("one", "--say=hello"), []

    async def scenario(supervisor):
        supervisor.start(spec)
        await supervisor.wait_ready(timeout_s=30)
        (status,) = supervisor.status()
        assert (status.state, status.restarts, status.ports) == ("ready", 0, spec.ports)
        told = await ask(spec)
        assert set(told["environment"]) <= {*spec.environment, "LC_CTYPE"}
        pids.append(status.pid)

    events = run(scenario, tmp_path)
    assert [event.happening for event in events] == ["started", "ready", "stopping", "stopped"]
    assert gone(pids[0])
    assert (tmp_path / "one.log").read_text() == "hello\n"


def test_a_crash_is_followed_by_a_restart_and_a_log_of_its_own(tiny, tmp_path):
    spec = tiny("one", "--say=hello")

    async def scenario(supervisor):
        supervisor.start(spec)
        await supervisor.wait_ready(timeout_s=30)
        first = supervisor.status()[0].pid
        await ask(spec, "/exit/3")
        await until(lambda: supervisor.status()[0].restarts == 1)
        await supervisor.wait_ready(timeout_s=30)
        assert supervisor.status()[0].pid != first

    events = run(scenario, tmp_path)
    assert any("ended with exit code 3; starts again" in event.message for event in events)
    assert (tmp_path / "one.log.1").read_text() == "hello\n"


def test_a_process_that_loses_its_readiness_is_unready_but_not_restarted(tiny, tmp_path):
    spec = tiny("one")

    async def scenario(supervisor):
        supervisor.start(spec)
        await supervisor.wait_ready(timeout_s=30)
        pid = supervisor.status()[0].pid
        await ask(spec, "/fail/readyz")
        await until(lambda: supervisor.status()[0].state == "unready")
        assert supervisor.status()[0].pid == pid

    events = run(scenario, tmp_path)
    assert ("unready", "does not answer its readiness probe") in [(each.happening, each.message) for each in events]


def test_a_process_that_fails_its_liveness_probe_is_restarted(tiny, tmp_path):
    spec = tiny("one", liveness="/healthz", startup="/healthz")

    async def scenario(supervisor):
        supervisor.start(spec)
        await supervisor.wait_ready(timeout_s=30)
        await ask(spec, "/fail/healthz")
        await until(lambda: supervisor.status()[0].restarts == 1)
        await supervisor.wait_ready(timeout_s=30)

    events = run(scenario, tmp_path)
    assert "failed its liveness probe 2 times in a row" in [event.message for event in events]


def test_liveness_waits_for_the_startup_probe(tiny, tmp_path):
    slow = tiny("slow", "--delay=0.8", liveness="/healthz", startup="/readyz")
    stuck = tiny("stuck", "--delay=60", startup="/readyz")

    async def scenario(supervisor):
        supervisor.start(slow)
        await supervisor.wait_ready(timeout_s=30)
        assert supervisor.status()[0].restarts == 0
        supervisor.start(stuck)
        with pytest.raises(StartError, match="did not pass its startup probe within 2 s"):
            await supervisor.wait_ready(["stuck"], timeout_s=20, attempts=1)

    run(scenario, tmp_path)


def test_passing_the_startup_probe_is_told_even_if_it_is_not_ready(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one", startup="/healthz", readiness="/readyz"))
        await supervisor.wait_ready(timeout_s=30)

    events = run(scenario, tmp_path)
    assert [event.happening for event in events][:3] == ["started", "up", "ready"]


@pytest.mark.parametrize(
    ("policy", "code", "again"), [("Never", 3, False), ("OnFailure", 0, False), ("OnFailure", 3, True)]
)
def test_a_process_that_ended_is_started_again_only_if_its_policy_says_so(tiny, tmp_path, policy, code, again):
    async def scenario(supervisor):
        supervisor.start(replace(tiny("a/one", f"--exit={code}"), restart=policy))
        await until(lambda: supervisor.status_of("a/one").ended is not None)
        if again:
            await until(lambda: supervisor.status_of("a/one").restarts == 1)
            return
        await asyncio.sleep(0.3)
        status = supervisor.status_of("a/one")
        assert (status.state, status.pid, status.restarts) == ("finished", None, 0)
        assert (status.ended.exit_code, status.ended.message) == (code, f"ended with exit code {code}")
        assert status.ended.started_at <= status.ended.finished_at

    run(scenario, tmp_path)
    assert (tmp_path / "a" / "one.log").is_file()


def test_a_supervisor_that_ends_gives_everybody_the_time_that_it_has(tiny, tmp_path):
    async def scenario(supervisor):
        for name in ("one", "two"):
            supervisor.start(tiny(name, grace_s=60))
        await supervisor.wait_ready(timeout_s=30)

    begun = time.monotonic()
    run(scenario, tmp_path, grace_s=0.3)
    assert time.monotonic() - begun < 5


def test_a_log_that_is_cut_while_it_is_written_goes_on_at_its_new_end(tiny, tmp_path):
    code = "import time\nfor n in range(60):\n print(n, 'x' * 100, flush=True); time.sleep(0.01)\ntime.sleep(60)"

    async def scenario(supervisor):
        supervisor.start(replace(tiny("one", readiness=None), command=(sys.executable, "-c", code)))
        log = supervisor.log("one")
        await until(lambda: log.exists() and log.stat().st_size > 2000)
        bound_log(log, 2000)
        await until(lambda: "\n59 " in log.read_text())

    run(scenario, tmp_path)
    whole = (tmp_path / "one.log.1").read_text() + (tmp_path / "one.log").read_text()
    assert "\0" not in whole
    # A line that is written between copy and cut is lost, no more.
    assert len(whole.splitlines()) >= 58


def test_a_process_that_cannot_start_is_told_with_the_end_of_its_log(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one", "--say=the model package is broken", "--exit=4"))
        with pytest.raises(StartError, match=r"one: ended with exit code 4\nthe model package is broken"):
            await supervisor.wait_ready(timeout_s=30)

    run(scenario, tmp_path)


def test_a_program_that_is_not_there_is_told(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(replace(tiny("one"), command=("/no/such/program",)))
        with pytest.raises(StartError, match="cannot be started"):
            await supervisor.wait_ready(timeout_s=30)

    run(scenario, tmp_path)


def test_waiting_ends_in_time(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one", "--delay=30"))
        with pytest.raises(StartError, match=r"one: not ready after 0\.3 s"):
            await supervisor.wait_ready(timeout_s=0.3)

    run(scenario, tmp_path)


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace_period(tiny, tmp_path):
    pids = []

    async def scenario(supervisor):
        supervisor.start(tiny("one", "--ignore_sigterm", grace_s=0.3))
        await supervisor.wait_ready(timeout_s=30)
        pids.append(supervisor.status()[0].pid)
        begun = time.monotonic()
        await supervisor.stop("one")
        assert 0.25 < time.monotonic() - begun < 3
        assert supervisor.status() == ()

    run(scenario, tmp_path)
    assert gone(pids[0])


def test_workers_end_with_their_process(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one", "--worker"))
        await supervisor.wait_ready(timeout_s=30)

    run(scenario, tmp_path)
    worker = int((tmp_path / "one.log").read_text().split()[1])
    assert gone(worker)


def test_only_some_logs_are_kept(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one", "--exit=1"))
        await until(lambda: supervisor.status()[0].restarts >= 7)

    run(scenario, tmp_path, backoff=Backoff(first_s=0.001, longest_s=0.001))
    assert len(list(tmp_path.glob("one.log*"))) == 6


@pytest.mark.parametrize(
    "refused", [{"environment": {"A": "x\0y"}}, {"environment": {"A=B": "x"}}, {"command": ("true", "\ud800")}]
)
def test_what_the_system_refuses_to_start_is_told_and_can_be_stopped(tiny, tmp_path, refused):
    async def scenario(supervisor):
        supervisor.start(replace(tiny("one"), **refused))
        with pytest.raises(StartError, match="cannot be started"):
            await supervisor.wait_ready(timeout_s=30)
        await supervisor.stop("one")
        assert supervisor.status() == ()

    run(scenario, tmp_path)


def test_all_processes_end_though_one_fails_to(tiny, tmp_path, monkeypatch):
    pids = []
    end = Supervisor.stop

    async def stop(self, name, **grace):
        if name == "one":
            raise RuntimeError("lost")
        await end(self, name, **grace)

    async def scenario(supervisor):
        for name in ("one", "two"):
            supervisor.start(tiny(name))
        await supervisor.wait_ready(timeout_s=30)
        pids.extend(status.pid for status in supervisor.status())
        monkeypatch.setattr(Supervisor, "stop", stop)

    run(scenario, tmp_path, grace_s=0.3)
    # The guardian ends the one.
    assert all(gone(pid) for pid in pids)


def test_a_name_is_given_once(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one"))
        with pytest.raises(ValueError, match="one: a process of this name is running"):
            supervisor.start(tiny("one"))
        await supervisor.stop("no such process")

    run(scenario, tmp_path)


@given(st.integers(1, 10_000), st.floats(0.01, 5), st.floats(0.01, 100))
def test_waits_double_up_to_the_longest(failures, first_s, longest_s):
    backoff = Backoff(first_s=first_s, longest_s=longest_s)
    assert 0 < backoff.wait_s(failures) <= longest_s
    assert backoff.wait_s(failures) <= backoff.wait_s(failures + 1) <= 2 * backoff.wait_s(failures)


SUPERVISED = """
import asyncio, sys
from pathlib import Path
from localcluster.processes.process_spec import ProcessSpec
from localcluster.processes.supervisor import Supervisor

async def main():
    async with Supervisor(Path(sys.argv[1])) as supervisor:
        code = sys.argv[2]
        supervisor.start(ProcessSpec("child", (sys.executable, "-c", code), {}, grace_s=1))
        await asyncio.sleep(600)

asyncio.run(main())
"""
CHILD = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))
worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
print(os.getpid(), worker.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "guardian_dies"), [(signal.SIGKILL, False), (signal.SIGINT, False), (signal.SIGKILL, True)]
)
def test_no_process_outlives_a_supervisor_that_is_killed(tmp_path, number, guardian_dies):
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISED), str(tmp_path), textwrap.dedent(CHILD)]
    supervisor = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    log = tmp_path / "child.log"
    deadline = time.monotonic() + 10
    while not (log.exists() and len(log.read_text().split()) == 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = [int(word) for word in log.read_text().split()]
    assert not any(gone(pid) for pid in pids)
    if guardian_dies:
        first = guardian_of(supervisor.pid)
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while guardian_of(supervisor.pid) in {0, first} and time.monotonic() < deadline:
            time.sleep(0.02)
        # It is told of the processes there are.
        time.sleep(0.3)
    # To the whole group, as a terminal does on Ctrl-C.
    os.killpg(supervisor.pid, number)
    supervisor.wait(10)
    deadline = time.monotonic() + 10
    while not all(gone(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(pid) for pid in pids)
    assert "interrupted" not in log.read_text()


def guardian_of(pid):
    """Process id of a supervisor's guardian, 0 if there is none."""
    children = psutil.Process(pid).children()
    return next((each.pid for each in children if not gone(each.pid) and "guardian.py" in str(each.cmdline())), 0)


def test_processes_start_and_stay_though_the_guardian_dies(tiny, tmp_path):
    async def scenario(supervisor):
        supervisor.start(tiny("one"))
        await supervisor.wait_ready(timeout_s=30)
        os.kill(guardian_of(os.getpid()), signal.SIGKILL)
        supervisor.start(tiny("two"))
        await supervisor.wait_ready(timeout_s=30)
        assert [status.restarts for status in supervisor.status()] == [0, 0]

    assert "exited" not in [event.happening for event in run(scenario, tmp_path)]

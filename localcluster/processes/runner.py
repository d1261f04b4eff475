"""Keeps one process running: starts it, probes it, restarts it with back-off, ends it with all it has started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from localcluster.processes.guardian import Guardian
from localcluster.processes.probes import healthy
from localcluster.processes.process_spec import Probe, ProcessSpec

State = Literal["starting", "ready", "unready", "backing off", "finished", "stopping", "stopped"]
Happening = Literal["started", "up", "ready", "unready", "unhealthy", "exited", "stopping", "stopped"]

KEPT_LOGS = 5
# After a start a process is probed this often until it answers, however long its probe's period.
_EAGER_PERIOD_S = 0.2
_TAIL_BYTES = 8192
# What a container runtime says of a program that cannot be run.
_CANNOT_START = 128
# `python -m` finds the packages here.
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Event:
    """Something that happened to a process.

    Attributes:
        at: Unix time.
        process: Name of the process.
        happening: What happened.
        message: In words, with what follows from it.
    """

    at: float
    process: str
    happening: Happening
    message: str


@dataclass(frozen=True)
class Ended:
    """A run of a process that is over.

    Attributes:
        started_at: Unix time.
        finished_at: Unix time.
        exit_code: As a shell has it: 128 and the signal's number for one that was ended by a signal.
        message: How it ended, in words.
    """

    started_at: float
    finished_at: float
    exit_code: int
    message: str


@dataclass(frozen=True)
class ProcessStatus:
    """A process as it is now.

    Attributes:
        name: Name of the process.
        state: What it is doing.
        pid: Process id, None while it does not run.
        restarts: How often it was started again.
        since: Unix time of the last change of state.
        log: Its log file.
        ports: Name of a port to its number.
        host: Where it listens.
        started_at: Unix time at which this run began; 0 while it does not run.
        started: Whether it runs and has passed its startup probe.
        ended: The run before this one, or the last one; None in the first.
    """

    name: str
    state: State
    pid: int | None
    restarts: int
    since: float
    log: Path
    ports: Mapping[str, int]
    host: str
    started_at: float = 0
    started: bool = False
    ended: Ended | None = None


@dataclass(frozen=True)
class Backoff:
    """Waits between restarts: doubled each time, forgotten after a run of `reset_s`; all in seconds."""

    first_s: float = 0.5
    longest_s: float = 30
    reset_s: float = 60

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (1 or more)."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32))


class Runner:
    """Keeps one process running."""

    def __init__(
        self,
        spec: ProcessSpec,
        log: Path,
        guardian: Guardian,
        backoff: Backoff,
        on_change: Callable[[Event], None],
    ) -> None:
        self.spec = spec
        self.answers = False
        self.was_ready = False
        self.failures = 0
        self.ended: Ended | None = None
        self._log = log
        self._guardian = guardian
        self._backoff = backoff
        self._on_change = on_change
        self._state: State = "starting"
        self._since = time.time()
        self._starts = 0
        self._pid: int | None = None
        self._started_at = 0.0
        self._started = False
        self._grace_s = spec.grace_s
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts it in the background."""
        self._task = asyncio.create_task(self._run(), name=self.spec.name)

    async def end(self, grace_s: float | None = None) -> None:
        """Ends it and waits until it has ended.

        Args:
            grace_s: Seconds from SIGTERM to SIGKILL, if other than its specification says.
        """
        if grace_s is not None:
            self._grace_s = grace_s
        self._stopping.set()
        if self._task is not None:
            # Shielded: whoever waits may be cancelled, the process is ended all the same.
            await asyncio.shield(self._task)

    def status(self) -> ProcessStatus:
        """The process as it is now."""
        return ProcessStatus(
            name=self.spec.name,
            state=self._state,
            pid=self._pid,
            restarts=max(0, self._starts - 1),
            since=self._since,
            log=self._log,
            ports=self.spec.ports,
            host=self.spec.address.host,
            started_at=self._started_at,
            started=self._started,
            ended=self.ended,
        )

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    async def _run(self) -> None:
        while not self._stopping.is_set():
            begun = time.time()
            exit_code, message = await self._run_once()
            self._pid, self._started_at, self._started = None, 0.0, False
            self.ended = Ended(begun, time.time(), exit_code, message)
            if self._stopping.is_set():
                break
            if self.spec.restart == "Never" or (self.spec.restart == "OnFailure" and exit_code == 0):
                self._enter("finished", "exited", message)
                return
            if self.ended.finished_at - begun >= self._backoff.reset_s:
                self.failures = 0
            self.failures += 1
            wait_s = self._backoff.wait_s(self.failures)
            self._enter("backing off", "exited", f"{message}; starts again in {wait_s:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
        self._enter("stopped", "stopped", "has ended")

    async def _run_once(self) -> tuple[int, str]:
        """Runs the process once; returns its exit code and how it ended."""
        self._starts += 1
        try:
            _rotate(self._log)
            # Appending, so that a log that is cut while it is written goes on at its new end.
            with self._log.open("ab") as log:
                process = await self._spawn(log)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            # ValueError: a NUL, or text that no encoding has.
            return _CANNOT_START, f"cannot be started: {error}"
        self._guardian.remember(process.pid)
        self._pid = process.pid
        self._started_at = time.time()
        self._started = self.spec.startup is None
        self._enter("starting", "started", f"process {process.pid}")
        probing = asyncio.create_task(self._probe_until_unhealthy())
        stopping = asyncio.create_task(self._stopping.wait())
        exiting = asyncio.create_task(process.wait())
        message = ""
        try:
            await asyncio.wait({probing, stopping, exiting}, return_when=asyncio.FIRST_COMPLETED)
            if not exiting.done():
                if stopping.done():
                    message = "stopped"
                    self._enter("stopping", "stopping", "ends")
                else:
                    message = probing.result()
                    self._enter("stopping", "unhealthy", message)
        finally:
            self.answers = False
            for task in (probing, stopping):
                task.cancel()
            await _end_group(process, exiting, self._grace_s)
            self._guardian.forget(process.pid)
            await asyncio.gather(probing, stopping, return_exceptions=True)
        code = exiting.result()
        return (code if code >= 0 else 128 - code), message or _describe_exit(code)

    async def _spawn(self, log: IO[bytes]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.spec.command,
            env=dict(self.spec.environment),
            cwd=_ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            # In the child, before it becomes the program: no moment in which the guardian does not know it.
            preexec_fn=self._guardian.remember_me,
        )

    async def _probe_until_unhealthy(self) -> str:
        """Probes until the process must be restarted; returns why."""
        startup, readiness, liveness = self.spec.startup, self.spec.readiness, self.spec.liveness
        if startup is not None and not await self._starts_up(startup):
            budget = startup.period_s * startup.failure_threshold
            return f"did not pass its startup probe within {budget:g} s"
        if startup is not None:
            self._started = True
            self._on_change(self._event("up", "passed its startup probe"))
        if readiness is None:
            self._answer(True)
        following = asyncio.create_task(self._follow_readiness(readiness)) if readiness is not None else None
        try:
            return await self._follow_liveness(liveness)
        finally:
            if following is not None:
                following.cancel()

    async def _starts_up(self, probe: Probe) -> bool:
        await asyncio.sleep(probe.initial_delay_s)
        deadline = time.monotonic() + probe.period_s * probe.failure_threshold
        while not await healthy(probe, self.spec.environment):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(min(probe.period_s, _EAGER_PERIOD_S))
        return True

    async def _follow_readiness(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_s)
        streak, answered = 0, False
        while True:
            good = await healthy(probe, self.spec.environment)
            streak = (max(streak, 0) + 1) if good else (min(streak, 0) - 1)
            if streak >= probe.success_threshold:
                self._answer(True)
            elif -streak >= probe.failure_threshold:
                self._answer(False)
            answered = answered or self.answers
            await asyncio.sleep(probe.period_s if answered else min(probe.period_s, _EAGER_PERIOD_S))

    async def _follow_liveness(self, probe: Probe | None) -> str:
        if probe is None:
            never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            return await never
        await asyncio.sleep(probe.initial_delay_s)
        failed = 0
        while failed < probe.failure_threshold:
            await asyncio.sleep(probe.period_s)
            failed = 0 if await healthy(probe, self.spec.environment) else failed + 1
        return f"failed its liveness probe {failed} times in a row"

    def _answer(self, answers: bool) -> None:
        if answers == self.answers:
            return
        self.answers = answers
        self.was_ready = self.was_ready or answers
        if answers:
            self._enter("ready", "ready", "answers")
        else:
            self._enter("unready", "unready", "does not answer its readiness probe")

    def _enter(self, state: State, happening: Happening, message: str) -> None:
        self._state = state
        self._since = time.time()
        self.answers = state == "ready"
        self._on_change(self._event(happening, message))

    def _event(self, happening: Happening, message: str) -> Event:
        return Event(time.time(), self.spec.name, happening, message)


async def _end_group(process: asyncio.subprocess.Process, exiting: asyncio.Task[int], grace_s: float) -> None:
    """Ends a process and whatever it has started."""
    if not exiting.done():
        _signal_group(process.pid, signal.SIGTERM)
        await asyncio.wait({exiting}, timeout=grace_s)
    # Workers that outlived it, and itself if it did not listen.
    _signal_group(process.pid, signal.SIGKILL)
    await exiting


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def bound_log(log: Path, largest_bytes: int) -> None:
    """Moves what a log holds to `.1` once it has grown too large; whoever writes it goes on in the same file."""
    if log.stat().st_size > largest_bytes:
        _make_room(log)
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def _rotate(log: Path) -> None:
    """Makes room for a new log: `x.log` becomes `x.log.1`, and so on."""
    _make_room(log)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))


def _make_room(log: Path) -> None:
    for number in range(KEPT_LOGS, 1, -1):
        newer = log.with_name(f"{log.name}.{number - 1}")
        if newer.exists():
            newer.replace(log.with_name(f"{log.name}.{number}"))

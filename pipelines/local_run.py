"""Runs a pipeline on this machine with `kfp.local`: the same components, as processes, without a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from kfp import dsl, local
from kfp.local import logging_utils, subprocess_task_handler
from kfp.local.status import Status

from blueprints.progress import parse_progress
from components import FINETUNING_IMAGE
from pipelines.one_of import artifacts_of_the_branch_that_ran

_PROJECT = Path(__file__).resolve().parents[1]
# Images whose packages this process has not: folder of the environment that stands for them, and what makes it.
_ENVIRONMENTS = {FINETUNING_IMAGE: (".venv-finetuning", "make finetuning")}

_STARTED = re.compile(r"Executing task '?(?:\x1b\[\d+m)?'?(?P<task>[\w-]+)")
_FINISHED = re.compile(r"Task '?(?:\x1b\[\d+m)?'?(?P<task>[\w-]+).* finished with status .*(?P<status>SUCCESS|FAILURE)")
_CACHED = re.compile(r"Task (?P<task>[\w-]+) cache hit")
_EXCEPTION = re.compile(r"^(\w+\.)*\w+(Error|Exception|Interrupt)\b")
_COLOUR = re.compile(r"\x1b\[\d+m")


class PipelineFailedError(Exception):
    """A step of a pipeline failed; the message ends with what the step said last."""


@dataclass(frozen=True)
class Event:
    """Something happened in a run.

    Attributes:
        kind: `started`, `progress`, `finished` or `cached`.
        step: Name of the step.
        done: Parts done, for `progress`.
        total: Parts in all, for `progress`.
        words: What is going on, for `progress`.
    """

    kind: str
    step: str
    done: int = 0
    total: int = 0
    words: str = ""


@dataclass(frozen=True)
class LocalRun:
    """A finished run.

    Attributes:
        folder: Everything that it wrote: `run.log`, `reports/`, and a folder a step.
        outputs: The pipeline's outputs by name: values, and artifacts with `path` and `metadata`.
        reports: Its HTML pages by name, in `folder/reports`.
    """

    folder: Path
    outputs: dict[str, Any]
    reports: dict[str, Path]


def run_locally(
    pipeline: Any,
    arguments: dict[str, Any],
    runs: Path,
    *,
    use_cache: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> LocalRun:
    """Runs a pipeline on this machine.

    Steps whose code and inputs did not change since an earlier run are taken from it.

    Args:
        pipeline: A compiled `@dsl.pipeline`.
        arguments: Its parameters.
        runs: Folder that holds all runs.
        use_cache: Whether to look at earlier runs.
        on_event: Called as steps start, proceed and end.

    Raises:
        PipelineFailedError: A step failed.
    """
    folder = runs / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    folder.mkdir(parents=True)
    # Threads that spin while they wait make numerical libraries crawl on a machine that does something else too.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder),
        workspace_root=str(folder / "workspace"),
        enable_caching=use_cache,
        cache_root=str(runs / "cache" / _code_hash()),
    )
    with (folder / "run.log").open("w", encoding="utf-8") as log:
        output = _Output(log, on_event)
        with contextlib.redirect_stdout(output), warnings.catch_warnings():
            # The runner expects "python" in an image's name; nothing runs in an image here.
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                # Outside of its own tasks the runner logs nothing, cache hits included.
                with (
                    logging_utils.local_logger_context(),
                    artifacts_of_the_branch_that_ran(),
                    steps_in_their_environments(),
                ):
                    outputs = pipeline(**arguments).outputs
            except RuntimeError as error:
                raise PipelineFailedError(_failure(output, folder)) from error
            finally:
                _give_every_artifact_a_file(folder)
    pages = {name: Path(value.path) for name, value in outputs.items() if isinstance(value, dsl.HTML)}
    return LocalRun(folder=folder, outputs=outputs, reports=_keep_pages(pages, folder))


@contextlib.contextmanager
def steps_in_their_environments() -> Iterator[None]:
    """Makes `kfp.local` run each step in the interpreter that stands for its image; it knows its own one only."""
    original = subprocess_task_handler.SubprocessTaskHandler
    subprocess_task_handler.SubprocessTaskHandler = _Step
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = original


def interpreter(image: str, *, project: Path = _PROJECT) -> Path:
    """The Python interpreter that stands for a component's image on this machine.

    Raises:
        FileNotFoundError: Its environment is missing; the message says how to make it.
    """
    if image not in _ENVIRONMENTS:
        return Path(sys.executable)
    folder, command = _ENVIRONMENTS[image]
    python = project / folder / "bin" / "python"
    if not python.is_file():
        raise FileNotFoundError(f"this step runs in {folder}, which is missing; make it with: {command}")
    return python


class _Step(subprocess_task_handler.SubprocessTaskHandler):  # type: ignore[misc]
    """A step as a process of the interpreter that stands for its image."""

    def run(self) -> Status:
        try:
            python = interpreter(self.image)
        except FileNotFoundError as error:
            print(error)  # noqa: T201 - what a step says last is the reason of its failure
            return Status.FAILURE
        command = subprocess_task_handler.replace_python_executable(self.full_command, str(python))
        code = subprocess_task_handler.run_local_subprocess(full_command=command, env_vars=self.env_vars)
        return Status.SUCCESS if code == 0 else Status.FAILURE


class _Output(io.TextIOBase):
    """Takes what the runner prints: writes it to the log, and turns what it means into events."""

    def __init__(self, log: io.TextIOBase, on_event: Callable[[Event], None]) -> None:
        self._log, self._on_event = log, on_event
        self._line, self.step = "", ""
        self.tail: deque[str] = deque(maxlen=400)
        self.failure: tuple[str, list[str]] | None = None

    def write(self, text: str) -> int:
        self._log.write(_COLOUR.sub("", text))
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._read(_COLOUR.sub("", line))
        return len(text)

    def isatty(self) -> bool:
        return False

    def _read(self, line: str) -> None:
        if started := _STARTED.search(line):
            self.step = started["task"]
            self.tail.clear()
            self._on_event(Event("started", self.step))
        elif finished := _FINISHED.search(line):
            if finished["status"] == "SUCCESS":
                self._on_event(Event("finished", finished["task"]))
            elif self.failure is None:
                self.failure = finished["task"], list(self.tail)
        elif cached := _CACHED.search(line):
            self._on_event(Event("cached", cached["task"]))
        elif progress := parse_progress(line):
            self._on_event(Event("progress", self.step, *progress))
        elif line.strip():
            self.tail.append(line.rstrip())


def _failure(output: _Output, folder: Path) -> str:
    step, tail = output.failure or (output.step, list(output.tail))
    said = [line.strip() for line in tail]
    raised = [index for index, line in enumerate(said) if _EXCEPTION.match(line)]
    cause = " ".join(said[raised[-1] : raised[-1] + 6]) if raised else (said[-1] if said else "it said nothing")
    pages = _keep_pages({page.parent.name: page for page in folder.glob("*/*/report")}, folder)
    written = "".join(f"\nReport: {page}" for page in pages.values() if step in ("enforce-fairness-gate", page.stem))
    return f"step {step!r} failed: {cause}{written}\nThe whole output is in {folder / 'run.log'}"


def _keep_pages(pages: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Copies pages to where a browser knows what they are; artifacts have no file extension."""
    kept = {}
    (folder / "reports").mkdir(exist_ok=True)
    for name, page in pages.items():
        kept[name] = folder / "reports" / f"{name.removesuffix('_report')}.html"
        shutil.copyfile(page, kept[name])
    return kept


def _give_every_artifact_a_file(folder: Path) -> None:
    """Metrics are metadata alone, and the runner's cache answers only for artifacts that lie on disk."""
    for said in folder.glob("*/*/executor_output.json"):
        # An interrupted step leaves half a file, and nothing that the cache would answer with.
        with contextlib.suppress(json.JSONDecodeError):
            for output in json.loads(said.read_text()).get("artifacts", {}).values():
                for artifact in output["artifacts"]:
                    Path(artifact["uri"]).touch()


def _code_hash() -> str:
    """Hash of the domain code, so that the cache never answers for other code."""
    digest = hashlib.sha256(sys.version.encode())
    root = Path(str(resources.files("blueprints")))
    for path in sorted(root.rglob("*.py")) + sorted(root.rglob("*.yaml")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]

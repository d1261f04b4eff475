import os
import sys
from pathlib import Path

import pytest
from kfp import dsl

from components import FINETUNING_IMAGE, JOBS_IMAGE
from pipelines import local_run
from pipelines.local_run import PipelineFailedError, interpreter, run_locally


@dsl.component(base_image=FINETUNING_IMAGE, install_kfp_package=False)
def where() -> str:
    import sys

    return sys.prefix


@dsl.pipeline
def asks_where() -> str:
    return where().output


def test_a_step_runs_in_the_interpreter_that_stands_for_its_image(tmp_path, monkeypatch):
    python = tmp_path / ".venv-finetuning" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "another interpreter"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(local_run.interpreter, "__kwdefaults__", {"project": tmp_path})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
    run = run_locally(asks_where, {}, tmp_path / "runs", use_cache=False)
    assert "another interpreter" in (run.folder / "run.log").read_text()
    assert interpreter(JOBS_IMAGE) == Path(sys.executable)


def test_a_step_whose_environment_is_missing_fails_and_says_what_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(local_run.interpreter, "__kwdefaults__", {"project": tmp_path})
    with pytest.raises(PipelineFailedError, match=r"step 'where' failed: .*\.venv-finetuning.*make finetuning"):
        run_locally(asks_where, {}, tmp_path / "runs", use_cache=False)

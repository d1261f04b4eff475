from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT
from components.training.distill_text_classifier.component import distill_text_classifier
from pipelines.local_run import steps_in_their_environments
from tests.tiny_encoder import tiny_encoder

PYTHON = Path(__file__).parents[4] / ".venv-finetuning" / "bin" / "python"


@pytest.mark.slow  # torch starts
@pytest.mark.skipif(not PYTHON.is_file(), reason="needs torch: make finetuning")
def test_a_student_is_distilled_by_a_real_run(run_component, text_chain, artifact):
    teacher, encoder = artifact("teacher"), tiny_encoder(layers=3)
    head = {HEAD_WEIGHT: np.ones((2, 32), np.float32), HEAD_BIAS: np.zeros(2, np.float32)}
    replace(encoder, weights={**encoder.weights, **head}).save(Path(teacher.path) / "encoder")
    inputs = {"train": text_chain["train"], "validation": text_chain["validation"], "teacher": teacher}
    with steps_in_their_environments():
        run = run_component(distill_text_classifier, inputs, layers=2, epochs=1.0, texts=400)
    config = TextClassifier.open(run.folder / "model").config
    assert (config.method, config.layers) == ("distilled", 2)
    assert not list(run.folder.rglob("state.json"))
    assert run.metadata["model"]["method"] == "distilled"


KILLED = """
import os, signal, sys
from types import SimpleNamespace
from blueprints import progress
from components.training.distill_text_classifier.component import distill_text_classifier

def report(step, steps, words):
    if "steps" in words:  # not the texts that the teacher answers before
        print("seen", step, flush=True)
    if sys.argv[1] == "kill" and "accuracy" in words:
        os.kill(os.getpid(), signal.SIGKILL)

progress.report_progress = report
train, validation, teacher, model = [SimpleNamespace(path=path, metadata={}) for path in sys.argv[2:]]
metrics = SimpleNamespace(log_metric=lambda *_: None)
distill_text_classifier.python_func(train, validation, teacher, model, metrics, layers=1, epochs=2.0, texts=400)
"""


@pytest.mark.slow  # torch starts twice
@pytest.mark.skipif(not PYTHON.is_file(), reason="needs torch: make finetuning")
def test_a_step_that_was_killed_goes_on_in_the_next_run(text_chain, tmp_path):
    encoder = tiny_encoder()
    head = {HEAD_WEIGHT: np.ones((2, 32), np.float32), HEAD_BIAS: np.zeros(2, np.float32)}
    replace(encoder, weights={**encoder.weights, **head}).save(tmp_path / "teacher" / "encoder")
    home = tmp_path / "home"
    environment = {**os.environ, "PYTHONPATH": str(PYTHON.parents[2]), "BLUEPRINTS_HOME": str(home)}

    def run(what: str) -> tuple[int, list[int]]:
        inputs = [text_chain["train"].path, text_chain["validation"].path, str(tmp_path / "teacher")]
        command = [str(PYTHON), "-c", KILLED, what, *inputs, str(tmp_path / what)]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seen")]

    code, first = run("kill")
    assert code == -signal.SIGKILL
    (kept,) = (home / "checkpoints").iterdir()
    assert (kept / "state.json").is_file()
    code, second = run("go-on")
    assert code == 0
    assert min(second) > max(first)
    assert TextClassifier.open(tmp_path / "go-on").config.layers == 1
    assert not kept.exists()

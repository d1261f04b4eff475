from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import WORD_EMBEDDINGS, Encoder
from tests.tiny_encoder import examples, tiny_encoder

PROJECT = Path(__file__).parents[3]
PYTHON = PROJECT / ".venv-finetuning" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,  # torch starts twice
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PYTHON.is_file(), reason="needs torch: make finetuning"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with what `torch_runs.py` did: `whole` and `killed` fine-tunings, a `student`, and `found`."""
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for what, expected in (("first", -signal.SIGKILL), ("second", 0)):
        command = [str(PYTHON), str(Path(__file__).with_name("torch_runs.py")), what, str(folder)]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=250)
        assert done.returncode == expected, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(runs):
    return json.loads((runs / "found.json").read_text())


def accuracy(folder: Path) -> float:
    validation = examples(80, seed=1)
    return float((TextClassifier.open(folder).classify(validation.texts).argmax(axis=1) == validation.labels).mean())


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_weights(runs):
    whole, killed = (Encoder.load(runs / name / "encoder") for name in ("whole", "killed"))
    assert whole.weights.keys() == killed.weights.keys()
    assert all(np.array_equal(array, killed.weights[name]) for name, array in whole.weights.items())
    assert (runs / "whole.json").read_text() == (runs / "killed.json").read_text()


def test_checkpoints_are_data_and_of_one_step(runs):
    names = sorted(file.name for file in (runs / "killed-checkpoints").iterdir())
    assert len(names) == 2
    assert names[0].endswith("-tensors.safetensors")
    assert names[1] == "state.json"


def test_fine_tuning_learns_and_its_text_model_answers_as_torch_did(runs):
    history = json.loads((runs / "whole.json").read_text())
    assert max(history) > 0.9
    assert accuracy(runs / "whole") == pytest.approx(max(history))
    config = TextClassifier.open(runs / "whole").config
    assert (config.method, config.layers, config.labels) == ("finetuned", 2, ("negative", "positive"))
    assert (config.max_tokens, config.overlap) == (32, 8)  # as it was trained


def test_word_embeddings_stay_and_everything_else_moves(runs):
    before, after = tiny_encoder().weights, Encoder.load(runs / "whole" / "encoder").weights
    same = {name for name, array in before.items() if np.array_equal(array, after[name])}
    assert same == {WORD_EMBEDDINGS}


def test_a_student_has_fewer_layers_and_nearly_the_teachers_accuracy(runs, found):
    student = TextClassifier.open(runs / "student")
    assert (student.config.method, student.config.layers) == ("distilled", 1)
    assert accuracy(runs / "student") in [pytest.approx(one) for one in found["student"]]
    assert accuracy(runs / "student") >= accuracy(runs / "whole") - 0.1


def test_training_stops_when_it_gets_no_better(found):
    assert len(found["stopped"]) == 3


def test_a_graph_that_answers_otherwise_than_torch_is_refused(found):
    assert found["difference"] < 1e-4
    assert "differ from torch's" in found["refused"]

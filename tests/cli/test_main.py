from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import yaml


def test_help_is_quick_and_names_every_command(blueprints):
    begun = time.monotonic()
    said = blueprints("--help").stdout
    assert time.monotonic() - begun < 3
    commands = ("demo", "run", "compile", "submit", "deploy", "status", "logs", "delete", "cluster", "rollout")
    for command in (*commands, "validate", "lineage", "bench", "doctor", "data"):
        assert f" {command} " in said


def test_help_loads_no_heavy_library():
    heavy = "{'kfp', 'kserve', 'mlflow', 'pandas', 'shap', 'sklearn', 'xgboost'}"
    code = f"import cli.main, sys; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "fraud"), "no blueprint is named 'fraud'; there are: credit-risk"),
        (("compile", "fraud"), "no blueprint is named 'fraud'"),
        (("run", "credit-risk", "--set", "trials"), "write it as NAME=VALUE"),
        (("run", "credit-risk", "--set", "trails=3"), "no such parameter; there are: dataset"),
        (("run", "credit-risk", "--set", "trials=many"), "must be integer"),
        (("run", "credit-risk", "--data", "mine.csv"), "goes together with --schema"),
        (("demo", "fraud"), "no demo of 'fraud'"),
        (("bench", "fraud"), "no benchmark of 'fraud'"),
        (("run", "sentiment", "--set", "method=tuned"), "method is 'tuned'; it must be frozen or finetuned"),
        (("run", "sentiment", "--set", "student_layers=3"), "distilled from a fine-tuned model"),
    ],
)
def test_a_wrong_call_says_what_is_right(blueprints, arguments, words):
    done = blueprints(*arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lineage", "nothing"), "neither a recorded decision"),
        (("lineage", "x' or 'a"), "neither a recorded decision"),
        (("data", "snapshot", "nothing"), "nothing"),
        (("submit", "credit-risk", "--host", "http://127.0.0.1:9"), "did not take the run"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(blueprints, arguments, words):
    done = blueprints(*arguments)
    assert done.returncode == 1
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_compile_writes_the_yaml_that_kubeflow_takes(blueprints, tmp_path):
    assert blueprints("compile", "--output", str(tmp_path / "out")).returncode == 0
    for name in ("credit-risk", "sentiment"):
        (spec, *_) = yaml.safe_load_all((tmp_path / "out" / f"{name}.yaml").read_text())
        assert spec["pipelineInfo"]["name"] == name


def test_doctor_says_for_machines_what_it_says_for_people(blueprints):
    checks = json.loads(blueprints("doctor", "--json").stdout)
    assert checks["ready"] is True
    people = blueprints("doctor")
    assert people.returncode == 0
    for check in checks["checks"]:
        assert check["enables"]
        assert check["remedy"]
        assert check["name"].split()[0] in people.stdout


def test_datasets_are_listed(blueprints):
    listed = json.loads(blueprints("data", "list", "--json").stdout)
    assert {one["name"] for one in listed} == {"taiwan", "car_loan", "german", "film_sentences", "sentences", "cdnow"}


@pytest.mark.parametrize(
    "arguments",
    [("deploy", "credit-risk"), ("status",), ("logs", "x"), ("rollout", "status", "x"), ("cluster", "status")],
)
def test_without_a_cluster_commands_say_how_to_start_one(blueprints, arguments):
    done = blueprints(*arguments)
    assert done.returncode == 3
    assert "blueprints cluster up" in " ".join(done.stderr.split())


def test_a_cluster_that_is_not_up_is_no_error_to_stop(blueprints):
    assert json.loads(blueprints("cluster", "down", "--json").stdout) == {"stopped": False}

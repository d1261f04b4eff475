from __future__ import annotations

import json

import yaml


def test_the_pipeline_that_is_submitted_is_the_one_that_is_compiled(blueprints, kubeflow, tmp_path):
    done = blueprints(
        "submit", "credit-risk", "--host", kubeflow.host, "--set", "trials=3", "--dataset", "german", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "run_id": kubeflow.NEW,
        "url": f"{kubeflow.host}/#/runs/details/{kubeflow.NEW}",
    }
    (body,) = kubeflow.bodies("runs")
    blueprints("compile", "--output", str(tmp_path))
    (compiled, *_) = yaml.safe_load_all((tmp_path / "credit-risk.yaml").read_text())
    spec = body["pipeline_spec"]
    assert spec.get("pipeline_spec", spec)["deploymentSpec"] == compiled["deploymentSpec"]
    assert body["runtime_config"]["parameters"] == {
        "trials": 3,
        "dataset": "german",
        "registered_model": "credit-risk-german",
    }


def test_a_model_of_own_data_gets_a_name_of_its_own(blueprints, kubeflow, tmp_path):
    (tmp_path / "schema.yaml").write_text("target: y\n")
    own = ("--data", "s3://bucket/loans.parquet", "--schema", str(tmp_path / "schema.yaml"))
    for name in ((), ("--dataset", "taiwan")):
        assert blueprints("submit", "credit-risk", "--host", kubeflow.host, *own, *name).returncode == 0
    names = [body["runtime_config"]["parameters"]["registered_model"] for body in kubeflow.bodies("runs")]
    assert names == ["credit-risk-own", "credit-risk-taiwan"]


def test_a_blueprint_s_own_default_dataset_is_registered_under_its_name(blueprints, kubeflow):
    for dataset in ("film_sentences", "sentences"):
        assert blueprints("submit", "sentiment", "--host", kubeflow.host, "--dataset", dataset).returncode == 0
    given = [body["runtime_config"]["parameters"] for body in kubeflow.bodies("runs")]
    assert given == [
        {"dataset": "film_sentences"},
        {"dataset": "sentences", "registered_model": "sentiment-sentences"},
    ]

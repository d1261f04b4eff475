"""Packaging: a verified package that says where it comes from and names no protected input."""

from __future__ import annotations

import numpy as np
import pytest

from blueprints.credit_risk.evaluation import evaluate
from blueprints.credit_risk.fairness import FairnessGate, audit
from blueprints.credit_risk.packaging import OUTPUT, package_model
from blueprints.credit_risk.scorer import CreditScorer
from blueprints.datasets import SnapshotInfo
from blueprints.model_package import open_package

WHOLE, PART = "a" * 64, "b" * 64
TRAIN_INFO = SnapshotInfo(
    name="loans", version="1.2", part="train", rows=1_500, sha256=PART, schema_sha256="c" * 64, source="made",
    licence="none", created_from=WHOLE,
)  # fmt: skip


@pytest.fixture(scope="module")
def write(loans_model, make_loans, loans_schema):
    """Packages the loans model; keywords go to `package_model`."""
    test = make_loans(500, 3)
    target, margins = test["defaulted"].to_numpy(), loans_model.margins(test)
    evaluation = evaluate(margins, target, loans_model.policy, {"LightGBM": margins}, resamples=20)
    fairness = audit(test, loans_model.probabilities(test), loans_model.policy.threshold, loans_schema, FairnessGate())

    def run(folder, info=TRAIN_INFO, **keywords):
        given = {"pipeline_run": "run-7", "reference_rows": 300, **keywords}
        return package_model(folder, loans_model, make_loans(1_500, 1), info, evaluation, fairness, **given), evaluation

    return run


def test_the_package_opens_and_scores_as_the_model_does(write, tmp_path, loans_model, make_loans):
    from blueprints.credit_risk.application import encode_frame

    written, _ = write(tmp_path / "package")
    package = open_package(tmp_path / "package")
    assert package == written
    scorer, frame = CreditScorer(package), make_loans(200, 8)
    np.testing.assert_array_equal(
        scorer.probabilities(encode_frame(frame, scorer.columns)), loans_model.probabilities(frame)
    )
    assert scorer.policy.model_dump() == loans_model.policy.model_dump()


def test_no_protected_column_is_in_signature_or_reference(write, tmp_path):
    package, _ = write(tmp_path / "package")
    inputs = [column.name for column in package.signature.inputs]
    assert inputs == ["income", "amount", "purpose", "region"]
    assert package.signature.outputs == (OUTPUT,)
    assert package.reference().column_names == [*inputs, OUTPUT.name]


def test_the_reference_is_a_seeded_sample_of_training_rows_with_their_predictions(
    write, tmp_path, loans_model, make_loans
):
    one, two, other = (write(tmp_path / f"{i}", seed=seed)[0].reference() for i, seed in enumerate((1, 1, 2)))
    assert one.equals(two)
    assert not one.equals(other)
    frame = one.to_pandas()
    assert len(frame) == 300
    assert frame["amount"].isin(make_loans(1_500, 1)["amount"]).all()
    np.testing.assert_array_equal(frame[OUTPUT.name], loans_model.probabilities(frame))


def test_lineage_leads_back_to_run_data_code_and_parent(write, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_COMMIT", "d" * 40)
    package, evaluation = write(tmp_path / "package", parent_model="0123456789ab")
    lineage = package.lineage
    assert (lineage.dataset, lineage.dataset_version, lineage.pipeline_run) == ("loans", "1.2", "run-7")
    assert (lineage.git_commit, lineage.git_dirty, lineage.parent_model) == ("d" * 40, False, "0123456789ab")
    assert lineage.metrics == evaluation.metrics()
    assert lineage.parameters["mitigation"] == "none"
    assert lineage.parameters["rounds"] > 0
    assert {"xgboost-cpu", "numpy"} <= lineage.packages.keys()


def test_the_dataset_hash_is_that_of_the_whole_snapshot(write, tmp_path):
    part, _ = write(tmp_path / "part")
    assert part.lineage.dataset_sha256 == WHOLE
    whole, _ = write(tmp_path / "whole", TRAIN_INFO.model_copy(update={"part": "all", "sha256": WHOLE}))
    assert whole.lineage.dataset_sha256 == WHOLE


def test_the_model_card_tells_data_performance_decision_and_fairness(write, tmp_path, loans_model):
    package, evaluation = write(tmp_path / "package")
    card = package.read_bytes("model_card.md").decode()
    for words in (
        f"snapshot `{WHOLE}`: 1,500 training rows",
        "Income, Amount, Purpose, Region",
        f"| this model | {evaluation.model.roc_auc}",
        "| LightGBM |",
        f"Declined at a probability of {loans_model.policy.threshold:.4f}",
        "costs 5 and a declined payer 1",
        "| Sex |",
        "| Age |",
        "Mitigation: none",
    ):
        assert words in card


def test_a_folder_that_holds_something_is_left_alone(write, tmp_path):
    from blueprints.model_package import PackageError

    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "mine.txt").write_text("keep")
    with pytest.raises(PackageError, match="not empty"):
        write(tmp_path / "package")
    assert [path.name for path in tmp_path.rglob("*")] == ["package", "mine.txt"]

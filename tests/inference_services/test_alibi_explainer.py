"""The anchor explainer as it runs: its own server in its own environment, `.venv-alibi`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from blueprints.credit_risk.application import decode_features, encode_applications
from blueprints.credit_risk.scorer import POLICY, WEIGHTS
from blueprints.model_package import write_package
from localcluster.render import render
from localcluster.schemas.validators import Schemas
from localcluster.validation import validate
from tests.conftest import CREDIT_COLUMNS, credit_features
from tests.inference_services.bad_input import APPLICATION, BAD_JSON_VALUES
from tests.inference_services.conftest import Running
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-alibi"
LOCK = ROOT / "locks" / "alibi.txt"
MODULE = "inference_services.credit_risk.alibi_explainer"
EXPLAIN = "/v1/models/credit-risk:explain"
JSON = {"content-type": "application/json"}
NAMES = [column.name for column in CREDIT_COLUMNS]

# Importing alibi takes seconds in every server, a search one more, and a first run makes the environment.
slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(300)


def uv():
    found = os.environ.get("UV") or shutil.which("uv", path=f"{ROOT / '.uv' / 'bin'}:{os.environ.get('PATH', '')}")
    return found or pytest.skip("no uv here: `make install` brings one, or name one with UV=…")


@pytest.fixture(scope="session")
def alibi_python():
    """The environment's interpreter; the environment is made when it is not there or its lock has changed."""
    python, installed = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    if not installed.is_file() or installed.read_bytes() != LOCK.read_bytes():
        for command in (
            [uv(), "venv", "-q", "--allow-existing", "--python", sys.executable, ENVIRONMENT],
            [uv(), "pip", "sync", "-q", "--python", python, "--require-hashes", LOCK],
        ):
            made = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
            assert made.returncode == 0, made.stderr
        shutil.copyfile(LOCK, installed)
    return python


@pytest.fixture(scope="module")
def package(credit_package, tmp_path_factory):
    """The small model with a larger reference sample: nobody lives for free or was late more than six times."""
    rows = [
        row
        for row in decode_features(credit_features(4000, 1), CREDIT_COLUMNS)
        if row["housing"] != "free" and row["late_payments"] <= 6
    ]
    return write_package(
        tmp_path_factory.mktemp("anchors") / "package",
        files={name: credit_package.read_bytes(name) for name in (WEIGHTS, POLICY)},
        signature=credit_package.signature,
        lineage=credit_package.lineage,
        reference=pa.Table.from_pylist(rows),
        model_card="# A model for tests\n",
    )


@pytest.fixture(scope="module")
def reference(package):
    """The reference sample as a feature matrix."""
    return encode_applications(package.reference().to_pylist(), CREDIT_COLUMNS)


@pytest.fixture(scope="module")
def servers(alibi_python, package, tmp_path_factory):
    """One server with the usual limits, and one that gives up at once; started together, for the import's sake."""
    folder = tmp_path_factory.mktemp("servers")
    started = {}
    for name, flags in {"patient": [], "hasty": ["--request_timeout=0.05"]}.items():
        port, log = free_port(), folder / f"{name}.log"
        command = [alibi_python, "-m", MODULE, "--model_name=credit-risk", f"--model_dir={package.folder}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, f"--http_port={port}", *flags], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        started[name] = Running(process, port, 0, log)
    try:
        for server in started.values():
            server.wait("/readyz")
        yield started
    finally:
        for server in started.values():
            server.stop()


@pytest.fixture(scope="module")
def client(servers):
    return servers["patient"].client


@pytest.fixture(scope="module")
def explained(client, credit_scorer, reference):
    """One clear decline and one clear approval of the reference sample: feature row and explanation."""
    probabilities = credit_scorer.probabilities(reference)
    rows = {
        "decline": reference[np.argsort(probabilities)[int(0.95 * len(reference))]],
        "approve": reference[np.argsort(probabilities)[int(0.05 * len(reference))]],
    }
    applications = decode_features(np.array(list(rows.values())), CREDIT_COLUMNS)
    answer = client.post(EXPLAIN, json={"instances": applications})
    assert answer.status_code == 200, answer.text
    return dict(zip(rows, zip(rows.values(), answer.json()["explanations"], strict=True), strict=True))


def holds(condition, features):
    """What a condition of the answer means, from its fields alone."""
    column = CREDIT_COLUMNS[NAMES.index(condition["feature"])]
    values = features[:, NAMES.index(condition["feature"])].astype(np.float64)
    missing = np.isnan(values)
    if condition["category"] is not None:
        held = values == column.categories.index(condition["category"])
    elif condition["above"] is None and condition["at_most"] is None:
        held = np.full(len(values), not condition["missing"])
    else:
        low = -np.inf if condition["above"] is None else condition["above"]
        high = np.inf if condition["at_most"] is None else condition["at_most"]
        held = (values > low) & (values <= high)
    return np.where(missing, condition["missing"], held)


def covered(anchor, features):
    return np.logical_and.reduce([holds(condition, features) for condition in anchor["conditions"]])


@slow
@pytest.mark.parametrize("decision", ["decline", "approve"])
def test_the_decision_is_explained_in_words_that_are_true_of_the_application(
    explained, reference, credit_scorer, package, decision
):
    row, explanation = explained[decision]
    anchor = explanation["anchor"]
    assert explanation["decision"] == decision
    assert explanation["probability_of_default"] == pytest.approx(credit_scorer.probabilities(row[np.newaxis])[0])
    assert explanation["threshold"] == credit_scorer.policy.threshold
    assert explanation["model_version"] == package.version
    assert anchor["precision_reached"]
    assert anchor["precision"] >= 0.95
    assert covered(anchor, row[np.newaxis])[0]
    assert anchor["coverage"] == pytest.approx(covered(anchor, reference).mean())
    assert 0 < anchor["model_calls"] < anchor["scored_rows"] <= 100_000
    assert anchor["text"].startswith("Declined as long as " if decision == "decline" else "Approved as long as ")
    for condition in anchor["conditions"]:
        column = CREDIT_COLUMNS[NAMES.index(condition["feature"])]
        assert condition["text"] in anchor["text"]
        assert condition["text"].startswith(column.label)
        if column.unit and condition["above"] is not None:
            assert column.unit in condition["text"]


@slow
@pytest.mark.parametrize("decision", ["decline", "approve"])
def test_the_stated_precision_is_found_again_by_sampling(explained, reference, credit_scorer, decision):
    """The conditioned values come from rows that fulfil the anchor, all others from anybody."""
    _, explanation = explained[decision]
    anchor = explanation["anchor"]
    rng = np.random.default_rng(7)
    samples = reference[rng.integers(len(reference), size=4000)].copy()
    fulfilling = reference[covered(anchor, reference)]
    conditioned = [NAMES.index(condition["feature"]) for condition in anchor["conditions"]]
    samples[:, conditioned] = fulfilling[rng.integers(len(fulfilling), size=len(samples))][:, conditioned]
    assert covered(anchor, samples).all()
    declined = credit_scorer.probabilities(samples) >= credit_scorer.policy.threshold
    same = (declined == (decision == "decline")).mean()
    # The search stops at 95 % with five points of tolerance.
    assert same >= 0.90
    assert same == pytest.approx(anchor["precision"], abs=0.05)
    everybody = credit_scorer.probabilities(reference) >= credit_scorer.policy.threshold
    assert same > (everybody == (decision == "decline")).mean() + 0.1


@slow
def test_the_same_application_gets_the_same_anchor(client, explained):
    row, explanation = explained["decline"]
    application = decode_features(row[np.newaxis], CREDIT_COLUMNS)[0]
    again = client.post(EXPLAIN, json={"instances": [{**application, "decision_id": "once-more"}]}).json()
    assert again["explanations"] == [{**explanation, "decision_id": "once-more"}]


@slow
def test_values_that_the_reference_sample_lacks_are_explained_too(client, reference, credit_scorer):
    """Alibi alone would sample such a number from the sample's range, outside the condition that it states."""
    application = {**APPLICATION, "housing": "free", "late_payments": 12, "credit_limit": 150_000}
    anchor = client.post(EXPLAIN, json={"instances": [application]}).json()["explanations"][0]["anchor"]
    assert covered(anchor, encode_applications([application], CREDIT_COLUMNS))[0]
    bounds = {condition["feature"]: condition["above"] for condition in anchor["conditions"]}
    assert bounds["late_payments"] == 6
    assert anchor["coverage"] == covered(anchor, reference).mean() == 0
    samples = reference.copy()
    samples[:, NAMES.index("late_payments")] = 12
    others = {**anchor, "conditions": [c for c in anchor["conditions"] if c["feature"] != "late_payments"]}
    samples = samples[covered(others, samples)] if others["conditions"] else samples
    assert (credit_scorer.probabilities(samples) >= credit_scorer.policy.threshold).mean() >= 0.9


@slow
@pytest.mark.parametrize(
    ("body", "loc"),
    [
        *[
            ({"instances": [{**APPLICATION, field: value}]}, ["body", "instances", 0, field])
            for field, value in BAD_JSON_VALUES
        ],
        ({"instances": [{**APPLICATION, "housing": "castle"}]}, ["body", "instances", 0, "housing"]),
        ({"instances": [{**APPLICATION, "shoe_size": 1}]}, ["body", "instances", 0, "shoe_size"]),
        ({"instances": []}, ["body", "instances"]),
        ({"instances": [APPLICATION] * 5}, ["body", "instances"]),
        ({"instances": [APPLICATION], "parameters": {}}, ["body", "parameters"]),
        ({}, ["body", "instances"]),
        ([], ["body"]),
    ],
)
def test_bad_input_is_refused_with_field_and_reason(client, body, loc):
    answer = client.post(EXPLAIN, json=body)
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == loc
    assert problem["msg"]
    assert problem["type"]


@slow
def test_the_limits_of_the_other_servers_hold(client):
    for content, status in ((b'{"instances": [NaN]}', 422), (b"[" * 100_000, 422), (b" " * 3_000_000, 413)):
        answer = client.post(EXPLAIN, content=content, headers=JSON)
        assert (answer.status_code, set(answer.json())) == (status, {"detail"})
    assert client.post("/v1/models/other:explain", json={}).status_code == 404
    assert client.get("/openapi.json").json()["paths"].keys() >= {EXPLAIN, "/healthz", "/readyz", "/metrics"}


@slow
def test_more_than_a_few_waiting_applications_are_asked_to_come_back(client, explained):
    body = {"instances": decode_features(explained["decline"][0][np.newaxis], CREDIT_COLUMNS) * 4}
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(client.post, EXPLAIN, json=body) for _ in range(8)]
        answers = [future.result() for future in sent]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) <= 6
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "waiting" in answer.json()["detail"][0]["msg"]
    assert client.post(EXPLAIN, json=body).status_code == 200


@slow
def test_a_search_ends_when_nobody_waits_and_when_its_budget_is_spent(alibi_python, package):
    """In the environment itself: a server's answer does not tell whether a search goes on behind it."""
    script = f"""
from pathlib import Path
from blueprints.credit_risk.anchor_search import AnchorSearch, SearchSettings, SearchStoppedError
from blueprints.credit_risk.scorer import CreditScorer
from blueprints.model_package import open_package

package = open_package(Path({str(package.folder)!r}))
search = AnchorSearch(CreditScorer(package), package, SearchSettings(max_rows=500))
asked = []
try:
    search.find(search.reference[0], lambda: asked.append(1) or len(asked) > 3)
except SearchStoppedError:
    print("stopped after", len(asked))
anchor = search.find(search.reference[0])
print(anchor.conditions, anchor.reached, anchor.scored_rows <= 500, anchor.text)
"""
    run = subprocess.run(
        [alibi_python, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    stopped, spent = run.stdout.splitlines()
    assert stopped == "stopped after 4"
    assert spent.startswith("None False True ")
    assert spent.endswith("no simple conditions were found under which that stays so.")


@slow
def test_a_time_out_is_answered_and_a_signal_ends_the_server(servers, explained):
    hasty = servers["hasty"]
    body = {"instances": decode_features(explained["decline"][0][np.newaxis], CREDIT_COLUMNS) * 4}
    for _ in range(3):
        answer = hasty.client.post(EXPLAIN, json=body)
        assert (answer.status_code, answer.json()["detail"][0]["type"]) == (504, "timeout")
    assert hasty.client.get("/healthz").status_code == 200
    assert hasty.stop() == 0


def test_without_alibi_the_server_says_what_to_do(package):
    command = [sys.executable, "-m", MODULE, f"--model_dir={package.folder}", f"--http_port={free_port()}"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 1
    assert process.stderr.strip().endswith("run `make alibi` and start this server with .venv-alibi/bin/python")


def test_only_one_module_imports_alibi():
    sources = [
        path for folder in ("blueprints", "inference_services", "components") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    importing = [
        path.name for path in sources if "from alibi" in path.read_text() or "import alibi" in path.read_text()
    ]
    assert importing == ["anchor_search.py"]
    for lock in (ROOT / "locks").glob("*.txt"):
        assert ("\nalibi==" in lock.read_text()) == (lock == LOCK)


@pytest.mark.parametrize("overlay", ["local", "prod"])
def test_the_kustomize_component_replaces_the_explainer_and_nothing_else(tmp_path, overlay):
    base = os.path.relpath(ROOT / "kustomize", tmp_path)
    text = f"resources: [{base}/overlays/{overlay}]\ncomponents: [{base}/components/alibi]\n"
    (tmp_path / "kustomization.yaml").write_text(text)
    objects, before = render(tmp_path), render(ROOT / "kustomize" / "overlays" / overlay)
    schemas = Schemas(None)
    assert [finding for finding in validate(objects, schemas) if finding.path != "kind"] == []
    service, stock = (found.get("InferenceService", "credit-risk")["spec"] for found in (objects, before))
    (container,) = service["explainer"]["containers"]
    assert container["image"] == "ml-deployment-blueprints/credit-risk-alibi:0.1.0"
    assert container["command"] == ["python", "-m", MODULE]
    assert container["args"] == [*stock["explainer"]["containers"][0]["args"], "--request_timeout=25"]
    assert container["securityContext"] == stock["explainer"]["containers"][0]["securityContext"]
    assert {**service, "explainer": None} == {**stock, "explainer": None}

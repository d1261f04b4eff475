"""The decision record: append-only, idempotent, and safe against the end of the process."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from blueprints.credit_risk.decisions import (
    Decision,
    DecisionConflictError,
    DecisionStore,
    StoreUnavailableError,
    new_decision_id,
    utc_now,
)

ROOT = Path(__file__).parents[3]


def decision(decision_id: str | None = None, **inputs: object) -> Decision:
    return Decision(
        decision_id=decision_id or new_decision_id(),
        time=utc_now(),
        request_id="r",
        model_version="v1",
        inputs=inputs or {"age": 30, "used": None, "limit": 0.1},
        output={"probability_of_default": 0.25},
        explanation={"base_value": -1.5, "contributions": {"age": 0.1}},
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new' / 'decisions.db'}"


@pytest.fixture
def store(url: str) -> Iterator[DecisionStore]:
    store = DecisionStore(url)
    store.register_model("v1", "credit-risk", {"git_commit": "abc", "dataset_sha256": "0" * 64})
    yield store
    store.close()


def test_a_decision_reads_back_with_the_lineage_of_its_model(store: DecisionStore):
    made = decision()
    assert store.submit([made]).result() == [made]
    recorded = store.read(made.decision_id)
    assert recorded is not None
    assert recorded.decision == made
    assert recorded.model_name == "credit-risk"
    assert recorded.lineage["git_commit"] == "abc"
    assert store.read("unknown") is None


def test_the_first_record_stays_and_is_what_a_repetition_gets(store: DecisionStore):
    first = decision("d")
    again = replace(first, time="later", request_id="other", output={"probability_of_default": 0.9})
    store.submit([first]).result()
    assert store.submit([again]).result() == [first]
    assert store.submit([decision("e"), again, decision("e")]).result()[1] == first


def test_other_inputs_under_an_id_are_a_conflict_and_nothing_of_that_request_is_recorded(store: DecisionStore):
    store.submit([decision("d", age=1)]).result()
    with pytest.raises(DecisionConflictError) as caught:
        store.submit([decision("new", age=5), decision("d", age=2)]).result()
    assert (caught.value.position, caught.value.decision_id) == (1, "d")
    assert store.read("new") is None
    with pytest.raises(DecisionConflictError):
        store.submit([decision("twice", age=1), decision("twice", age=2)]).result()


def test_many_requests_at_once_are_all_recorded_once(store: DecisionStore):
    ids = [f"id-{index % 40}" for index in range(400)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda id_: store.submit([decision(id_, age=int(id_[3:]))]).result()[0], ids))
    for id_, answer in zip(ids, answers, strict=True):
        assert answer == store.read(id_).decision


def test_two_processes_share_a_store(url: str, store: DecisionStore):
    other = DecisionStore(url)
    other.register_model("v1", "credit-risk", {"git_commit": "changed"})
    first = store.submit([decision("d", age=1)]).result()
    assert other.submit([decision("d", age=1)]).result() == first
    with pytest.raises(DecisionConflictError):
        other.submit([decision("d", age=2)]).result()
    assert other.read("d").lineage["git_commit"] == "abc"
    other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET output = '{}'",
        "DELETE FROM decisions",
        "UPDATE models SET lineage = '{}'",
        "DELETE FROM models",
        "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
        "INSERT OR REPLACE INTO models SELECT * FROM models",
    ],
)
def test_records_cannot_be_changed_or_removed(url: str, store: DecisionStore, statement: str):
    made = store.submit([decision()]).result()[0]
    engine = sa.create_engine(url)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert store.read(made.decision_id).decision == made


def test_an_unregistered_model_is_refused_rather_than_recorded_without_lineage(store: DecisionStore):
    with pytest.raises(StoreUnavailableError):
        store.submit([replace(decision("d"), model_version="unknown")]).result()
    assert store.read("d") is None


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("no database" * 100)
    with pytest.raises(StoreUnavailableError, match="DECISIONS_URL"):
        DecisionStore(f"sqlite:///{tmp_path / 'file'}")


def test_closing_writes_what_waits(url: str):
    store = DecisionStore(url)
    store.register_model("v1", "credit-risk", {})
    futures = [store.submit([decision(f"d{index}")]) for index in range(50)]
    store.close()
    assert all(future.done() for future in futures)
    again = DecisionStore(url)
    assert all(again.read(f"d{index}") for index in range(50))
    again.close()


WRITER = """
import sys
from blueprints.credit_risk.decisions import *
store = DecisionStore(sys.argv[1])
store.register_model("v1", "credit-risk", {})
while True:
    made = Decision(new_decision_id(), utc_now(), "r", "v1", {"a": 1}, {}, {})
    store.submit([made]).result()
    print(made.decision_id, flush=True)
"""


def test_what_was_confirmed_survives_sigkill(url: str):
    process = subprocess.Popen([sys.executable, "-c", WRITER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    confirmed = [process.stdout.readline().strip() for _ in range(100)]
    process.kill()
    confirmed += process.communicate()[0].split("\n")[:-1]
    store = DecisionStore(url)
    assert all(store.read(id_) for id_ in confirmed if id_)
    store.close()


def test_ids_are_uuids_of_version_7_in_the_order_of_time():
    ids = []
    for _ in range(5):
        ids.append(new_decision_id())
        time.sleep(0.002)
    assert {uuid.UUID(id_).version for id_ in ids} == {7}
    assert ids == sorted(ids)

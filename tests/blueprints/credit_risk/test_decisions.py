"""The decision record: append-only, idempotent, and safe against the end of the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
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
from tests.postgres_server import Cluster

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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'decisions.db'}"
    return request.getfixturevalue("postgres").new_database()


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


def test_replicas_that_write_the_same_ids_at_once_give_the_one_on_record(url: str):
    stores = [DecisionStore(url) for _ in range(2)]
    for store in stores:
        store.register_model("v1", "credit-risk", {})

    def record(run: int) -> list[Decision]:
        # In opposite orders: locks taken id by id would be a deadlock.
        ids = [f"{run // 2}-{index}" for index in range(200)][:: 1 if run % 2 else -1]
        made = [replace(decision(id_), request_id=f"run {run}", inputs={"id": id_}) for id_ in ids]
        return stores[run % 2].submit(made).result()

    with ThreadPoolExecutor(2) as pool:
        answers = [answer for answers in pool.map(record, range(20)) for answer in answers]
    assert len(answers) == 20 * 200
    assert all(answer == stores[0].read(answer.decision_id).decision for answer in answers[::20])
    for store in stores:
        store.close()
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert connection.execute(query).fetchone() == (0,)


STATEMENTS = {
    "both": [
        "UPDATE decisions SET output = '{}'",
        "DELETE FROM decisions",
        "UPDATE models SET lineage = '{}'",
        "DELETE FROM models",
    ],
    "sqlite": [
        "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
        "INSERT OR REPLACE INTO models SELECT * FROM models",
    ],
    "postgresql": [
        "TRUNCATE decisions",
        "TRUNCATE models CASCADE",
        "INSERT INTO decisions SELECT * FROM decisions ON CONFLICT (decision_id) DO UPDATE SET output = '{}'",
        "MERGE INTO models m USING models n ON m.model_version = n.model_version WHEN MATCHED THEN DELETE",
    ],
}


def test_records_cannot_be_changed_or_removed(url: str, store: DecisionStore):
    made = store.submit([decision()]).result()[0]
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for statement in STATEMENTS["both"] + STATEMENTS[engine.dialect.name]:
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.exec_driver_sql(statement)
    engine.dispose()
    assert store.read(made.decision_id).decision == made
    assert store.read(made.decision_id).lineage["git_commit"] == "abc"


def test_an_unregistered_model_is_refused_rather_than_recorded_without_lineage(store: DecisionStore):
    with pytest.raises(StoreUnavailableError):
        store.submit([replace(decision("d"), model_version="unknown")]).result()
    assert store.read("d") is None


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("no database" * 100)
    with pytest.raises(StoreUnavailableError, match="DECISIONS_URL"):
        DecisionStore(f"sqlite:///{tmp_path / 'file'}")


@pytest.mark.parametrize(
    "address", ["nonsense", "unknown://host/name", "postgresql+absent://h/n", "postgresql://me:hush@127.0.0.1:1/name"]
)
def test_a_url_that_leads_nowhere_is_refused_and_its_password_kept_out_of_the_message(address: str):
    with pytest.raises(StoreUnavailableError, match="DECISIONS_URL") as caught:
        DecisionStore(address)
    assert "hush" not in str(caught.value)


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


def test_what_was_confirmed_survives_a_crash_of_postgresql_and_the_store_goes_on(postgres: Cluster):
    store = DecisionStore(postgres.new_database())
    store.register_model("v1", "credit-risk", {})
    before = store.submit([decision(f"d{index}") for index in range(100)]).result()
    postgres.stop(signal.SIGQUIT)
    with pytest.raises(StoreUnavailableError):
        store.submit([decision("lost")]).result(timeout=20)
    postgres.start()
    assert [store.read(made.decision_id).decision for made in before] == before
    assert store.submit([decision("after")]).result()
    assert store.read("lost") is None
    store.close()


def test_a_replica_that_hangs_within_its_commit_delays_the_others_and_no_more(postgres: Cluster):
    url = postgres.new_database()
    store = DecisionStore(url)
    store.register_model("v1", "credit-risk", {})
    with psycopg.connect(url) as hanging:
        hanging.execute("SET idle_in_transaction_session_timeout = '1s'")
        hanging.execute("LOCK TABLE decisions IN EXCLUSIVE MODE")
        assert store.submit([decision("d")]).result(timeout=15)
        hanging.close()
    store.close()


def test_on_postgresql_the_right_to_select_and_insert_is_enough(postgres: Cluster):
    url = postgres.new_database()
    DecisionStore(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE ROLE writer LOGIN")
        connection.execute("GRANT SELECT, INSERT ON models, decisions TO writer")
    store = DecisionStore(url.replace("postgres@", "writer@"))
    store.register_model("v1", "credit-risk", {})
    first = store.submit([decision("d", age=1)]).result()
    assert store.submit([decision("d", age=1)]).result() == first
    store.close()


def test_ids_are_uuids_of_version_7_in_the_order_of_time():
    ids = []
    for _ in range(5):
        ids.append(new_decision_id())
        time.sleep(0.002)
    assert {uuid.UUID(id_).version for id_ in ids} == {7}
    assert ids == sorted(ids)


def test_cancelled_requests_do_not_end_the_writer(tmp_path):
    store = DecisionStore(f"sqlite:///{tmp_path / 'decisions.db'}")
    try:
        store.register_model("v", "credit-risk", {})
        for round_ in range(200):
            future = store.submit([_plain(f"a{round_}")])
            future.cancel()
        assert store.submit([_plain("last")]).result(timeout=10)[0].decision_id == "last"
        assert store.alive
    finally:
        store.close()


def _plain(decision_id):
    return Decision(decision_id, "2026-01-01T00:00:00.000+00:00", "r", "v", {"x": 1}, {}, {})

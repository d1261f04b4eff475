from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.datasets import get
from blueprints.segmentation.feature_store import materialize, open_store
from blueprints.segmentation.features import BASIC, FEATURES, publish_features
from blueprints.segmentation.online_features import (
    OnlineFeatures,
    StoreUnavailableError,
    decode_moment,
    decode_value,
    encode_keys,
)
from blueprints.segmentation.store_config import StoreConfig, StoreConfigError
from blueprints.segmentation.transactions import transaction_batches
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse
from tests.online_stores import KINDS, MANIFESTS, PASSWORD

MAY, JUNE = date(1998, 5, 1), date(1998, 6, 1)
NAMES = [column.name for column in FEATURES]
CUSTOMERS = 400


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    frame = get("cdnow").load()
    with open_warehouse(f"duckdb:///{tmp_path_factory.mktemp('warehouse')}/w.duckdb") as opened:
        opened.load("transactions", transaction_batches(frame[frame["customer_id"] <= CUSTOMERS]))
        publish_features(opened, MAY)
        publish_features(opened, JUNE)
        yield opened


@pytest.fixture
def config_of(empty_store, monkeypatch):
    """The shipped configuration of a kind of store, over an empty store."""

    def make(kind):
        for name, value in empty_store(kind).items():
            monkeypatch.setenv(name, value)
        return StoreConfig.current()

    return make


@pytest.fixture(params=list(KINDS))
def config(request, config_of):
    return config_of(request.param)


def published(warehouse, as_of):
    parts = [batch.to_pandas() for batch in warehouse.read(f"SELECT * FROM customer_features_{as_of:%Y%m%d}")]  # noqa: S608
    return pd.concat(parts).set_index("customer_id").sort_index()[NAMES].astype(float)


def historical(config, customers, as_of):
    moment = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    entities = pd.DataFrame({"customer_id": customers, "event_timestamp": moment})
    wanted = [f"customer_features:{name}" for name in NAMES]
    frame = open_store(config).get_historical_features(entities, wanted).to_df()
    return frame.set_index("customer_id").sort_index()[NAMES].astype(float)


def test_a_customer_has_the_same_features_offline_and_online_at_the_same_time(warehouse, config):
    assert materialize(warehouse, JUNE, config) == CUSTOMERS
    assert materialize(warehouse, MAY, config) == 0
    customers = list(range(1, CUSTOMERS + 1))
    expected = published(warehouse, JUNE)
    online = OnlineFeatures.open(config).read(customers)
    assert online.found.all()
    assert (online.as_of == np.datetime64("1998-06-01")).all()
    np.testing.assert_array_equal(online.matrix, expected.to_numpy())
    pd.testing.assert_frame_equal(historical(config, customers, JUNE), expected, check_names=False)
    earlier = historical(config, customers, MAY)
    pd.testing.assert_frame_equal(earlier, published(warehouse, MAY), check_names=False)
    assert not earlier.equals(expected)
    by_feast = open_store(config).get_online_features(
        [f"customer_features:{name}" for name in NAMES], [{"customer_id": customer} for customer in customers]
    )
    np.testing.assert_array_equal(by_feast.to_df()[NAMES].astype(float).to_numpy(), online.matrix)


def test_a_date_that_is_computed_again_replaces_its_features(warehouse, config):
    materialize(warehouse, JUNE, config)
    reader = OnlineFeatures.open(config)
    before = reader.read([1]).matrix[0, NAMES.index("monetary")]
    doubled = ", ".join(f"{name} * 2 AS {name}" if name == "monetary" else name for name in NAMES)
    warehouse.publish_query("late_features", JUNE, f"SELECT customer_id, {doubled} FROM customer_features_19980601")  # noqa: S608
    materialize(warehouse, JUNE, config, table="late_features")
    assert reader.read([1]).matrix[0, NAMES.index("monetary")] == 2 * before
    assert [file.name for file in config.offline.iterdir()] == ["1998-06-01.parquet"]


def test_a_model_reads_its_own_columns_and_an_unknown_customer_is_told(warehouse, config):
    materialize(warehouse, JUNE, config)
    expected = published(warehouse, JUNE)
    columns = (BASIC[2], BASIC[0])
    rows = OnlineFeatures.open(config, columns).read([7, 10**9, -3, 7])
    assert rows.found.tolist() == [True, False, False, True]
    assert rows.matrix.shape == (4, 2)
    assert rows.matrix[0].tolist() == rows.matrix[3].tolist() == expected.loc[7, ["monetary", "recency_days"]].tolist()
    assert np.isnan(rows.matrix[1:3]).all()
    assert np.isnat(rows.as_of).tolist() == [False, True, True, False]
    assert OnlineFeatures.open(config).read([]).matrix.shape == (0, len(FEATURES))
    with pytest.raises(ValueError, match="at most 64 bits"):
        OnlineFeatures.open(config).read([1 << 63])


def test_redis_that_is_down_is_told_and_found_again(warehouse, config_of, redis_server):
    config = config_of("redis")
    materialize(warehouse, JUNE, config)
    reader = OnlineFeatures.open(config)
    expected = reader.read([1]).matrix
    redis_server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match=r"online store Redis: .*refused"):
                reader.read([1])
    finally:
        redis_server.start()
    np.testing.assert_array_equal(reader.read([1]).matrix, expected)


def test_postgresql_that_is_down_is_told_and_found_again(warehouse, config_of, postgres):
    config = config_of("postgres")
    materialize(warehouse, JUNE, config)
    reader = OnlineFeatures.open(config)
    expected = reader.read([1]).matrix
    postgres.stop(signal.SIGQUIT)
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="online store PostgreSQL: ") as caught:
                reader.read([1])
            assert PASSWORD not in str(caught.value)
    finally:
        postgres.start()
    np.testing.assert_array_equal(reader.read([1]).matrix, expected)
    # A connection that the server has dropped meanwhile costs no request.
    postgres.stop()
    postgres.start()
    np.testing.assert_array_equal(reader.read([1]).matrix, expected)


def test_sqlite_that_is_not_there_is_told_and_found_when_it_comes(warehouse, config_of, tmp_path):
    config = config_of("sqlite")
    reader = OnlineFeatures.open(config)
    with pytest.raises(StoreUnavailableError, match=r"online\.db.*materialize the features"):
        reader.read([1])
    materialize(warehouse, JUNE, config)
    expected = reader.read([1]).matrix
    assert not np.isnan(expected[0, 0])
    file = tmp_path / "data" / "online.db"
    moved = file.rename(file.with_suffix(".old"))
    with pytest.raises(StoreUnavailableError):
        reader.read([1])
    moved.rename(file)
    np.testing.assert_array_equal(reader.read([1]).matrix, expected)


def test_servers_go_on_reading_while_features_are_written(warehouse, config):
    materialize(warehouse, JUNE, config)
    reader = OnlineFeatures.open(config)
    expected = reader.read([5, 6]).matrix
    done, answers, errors = threading.Event(), [], []

    def read():
        while not done.is_set():
            try:
                answers.append(reader.read([5, 6]).matrix)
            except StoreUnavailableError as error:
                errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    materialize(warehouse, JUNE, config)
    done.set()
    thread.join()
    assert not errors
    assert len(answers) > 10
    assert all(np.array_equal(answer, expected, equal_nan=True) for answer in answers)


def test_features_that_are_not_published_are_named_and_no_file_is_left(warehouse, config_of):
    config = config_of("sqlite")
    with pytest.raises(WarehouseError, match="has no rows of 1998-06-02, only of 1998-05-01, 1998-06-01"):
        materialize(warehouse, date(1998, 6, 2), config)
    publish_features(warehouse, JUNE, rich=False, table="basic_features")
    with pytest.raises(WarehouseError, match="average_amount"):
        materialize(warehouse, JUNE, config, table="basic_features")
    assert not list(config.offline.glob("*"))
    assert not list(config.offline.glob(".*"))


def test_offline_files_have_one_date_each(warehouse, config_of):
    config = config_of("sqlite")
    materialize(warehouse, MAY, config)
    materialize(warehouse, JUNE, config)
    table = pq.read_table(config.offline / "1998-05-01.parquet")
    assert table.num_rows == len(published(warehouse, MAY))
    assert set(table["event_timestamp"].to_pylist()) == {datetime(1998, 5, 1, tzinfo=UTC)}
    assert table.schema.names == ["customer_id", *NAMES, "event_timestamp"]


@pytest.mark.slow  # starts Feast's command, which imports for seconds
def test_feast_applies_what_is_shipped(tmp_path):
    environment = {**os.environ, "FEATURE_STORE_DATA": str(tmp_path / "data"), "FEAST_USAGE": "False"}
    command = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(MANIFESTS), "apply"]
    (tmp_path / "data").mkdir()
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "data" / "online.db").exists()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_keys_are_those_of_feast(customers):
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    entities = [EntityKey(join_keys=["customer_id"], entity_values=[Value(int64_val=one)]) for one in customers]
    assert encode_keys(customers) == [serialize_entity_key(entity, 3) for entity in entities]


@given(st.floats(), st.integers(-(2**53), 2**53), st.integers(-(2**31), 2**31 - 1))
def test_values_are_those_of_feast(number, large, small):
    from feast.protos.feast.types.Value_pb2 import Null, Value

    single = float(np.float32(number)) if abs(number) < 1e38 else 0.5
    written = [Value(double_val=number), Value(int64_val=large), Value(int32_val=small), Value(float_val=single)]
    decoded = [decode_value(value.SerializeToString()) for value in written]
    np.testing.assert_array_equal(decoded, [number, large, small, single])
    assert np.isnan(decode_value(Value().SerializeToString()))
    assert np.isnan(decode_value(Value(null_val=Null.NULL).SerializeToString()))
    with pytest.raises(ValueError, match="no number"):
        decode_value(Value(string_val="x").SerializeToString())


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001
def test_moments_are_those_of_protobuf(moment):
    from google.protobuf.timestamp_pb2 import Timestamp

    written = Timestamp()
    written.FromDatetime(moment)
    assert np.datetime64(decode_moment(written.SerializeToString()), "us") == np.datetime64(moment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "project: x\nonline_store: {type: redis, connection_string: '${NOT_SET_ANYWHERE}'}",
            "set the environment variable NOT_SET",
        ),
        ("a: [", "is not YAML"),
        ("- a", "at least a 'project'"),
        ("project: x", "'online_store' needs a 'type'"),
        ("project: x\nonline_store: {type: dynamodb}", "type 'dynamodb'; use sqlite, redis, postgres"),
        ("project: x\nonline_store: {type: redis, redis_type: redis_cluster}", "no cluster and no sentinel"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path, text, words):
    path = tmp_path / "feature_store.yaml"
    path.write_text(text)
    with pytest.raises(StoreConfigError, match=words):
        OnlineFeatures.open(StoreConfig.read(path))
    with pytest.raises(StoreConfigError, match="cannot be read"):
        StoreConfig.read(tmp_path / "none.yaml")


def test_the_current_store_is_the_one_that_the_environment_names_else_sqlite_in_the_workspace(tmp_path, monkeypatch):
    for variable in ("FEATURE_STORE_CONFIG", "FEATURE_STORE_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("BLUEPRINTS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    own = StoreConfig.current()
    assert (own.project, own.online["type"]) == ("segmentation", "sqlite")
    assert own.online_path == tmp_path / "home" / "feature_store" / "online.db"
    assert own.offline == tmp_path / "home" / "feature_store" / "customer_features"
    (tmp_path / "mine.yaml").write_text("project: mine\nonline_store: {type: redis, connection_string: 'localhost:1'}")
    monkeypatch.setenv("FEATURE_STORE_CONFIG", "mine.yaml")
    assert (StoreConfig.current().project, StoreConfig.current().online["type"]) == ("mine", "redis")
    monkeypatch.setenv("FEATURE_STORE_CONFIG", "none.yaml")
    with pytest.raises(StoreConfigError, match=r"none\.yaml: cannot be read"):
        StoreConfig.current()


def test_servers_need_no_feast(tmp_path):
    code = (
        "import sys, blueprints.segmentation.online_features; "
        "print(sorted({'feast', 'pandas', 'pyarrow', 'duckdb'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"

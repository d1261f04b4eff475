from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, date, datetime
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blueprints.segmentation.warehouse import WarehouseError, open_warehouse
from blueprints.segmentation.warehouse.postgres import without_secrets

LIMIT = "SELECT current_setting('memory_limit') AS memory"
JANUARY, FEBRUARY, MARCH = date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)
DIALECTS = ("duckdb", "postgresql", "sqlite")


def batch(*customers, version="a"):
    return pa.record_batch(
        {
            "customer_id": pa.array(customers, pa.int64()),
            "score": pa.array([customer / 2 for customer in customers], pa.float64()),
            "version": pa.array([version] * len(customers), pa.string()).dictionary_encode(),
        }
    )


def rows(warehouse, sql):
    return [row for one in warehouse.read(sql) for row in one.to_pylist()]


def published(warehouse, table="segments"):
    """Customers and versions by date."""
    found: dict[str, list] = {}
    for row in rows(warehouse, f"SELECT * FROM {table} ORDER BY run_date, customer_id"):  # noqa: S608
        assert next(iter(row)) == "run_date"
        found.setdefault(str(row["run_date"]), []).append((row["customer_id"], row["version"]))
    return found


@pytest.fixture(params=DIALECTS)
def url(request, new_url):
    return new_url(request.param)


@pytest.fixture
def warehouse(url):
    with open_warehouse(url, wait=5) as opened:
        yield opened


def test_publishing_again_replaces_that_date_only_and_current_is_the_newest(warehouse):
    assert warehouse.publish("segments", FEBRUARY, [batch(1, 2, version="a")]) == 2
    assert warehouse.publish("segments", JANUARY, [batch(1), batch(5)]) == 2
    assert warehouse.publish("segments", FEBRUARY, [batch(3, version="b")]) == 1
    assert published(warehouse) == {"2024-01-31": [(1, "a"), (5, "a")], "2024-02-29": [(3, "b")]}
    assert published(warehouse, "segments_current") == {"2024-02-29": [(3, "b")]}
    assert warehouse.run_dates("segments") == (JANUARY, FEBRUARY)
    assert warehouse.exists("segments_20240131")
    assert not warehouse.exists("segments_20240331")


def test_rows_of_a_query_are_published_where_they_are(warehouse):
    assert warehouse.load("purchases", [batch(1, 2), batch(3)]) == 3
    sql = "SELECT customer_id, version FROM purchases WHERE customer_id > 1"
    assert warehouse.publish_query("features", JANUARY, sql) == 2
    assert published(warehouse, "features") == {"2024-01-31": [(2, "a"), (3, "a")]}


def test_a_loaded_table_is_replaced_whole(warehouse):
    warehouse.load("purchases", [batch(1, 2)])
    assert warehouse.load("purchases", [pa.record_batch({"other": pa.array([1.5])})]) == 1
    assert rows(warehouse, "SELECT * FROM purchases") == [{"other": 1.5}]


def test_no_rows_need_a_schema_and_give_an_empty_table(warehouse):
    with pytest.raises(WarehouseError, match="no rows to write, and no schema"):
        warehouse.publish("segments", JANUARY, [])
    assert warehouse.publish("segments", JANUARY, [], schema=batch().schema) == 0
    assert published(warehouse) == {}
    assert warehouse.run_dates("segments") == (JANUARY,)


def test_a_source_that_fails_leaves_the_old_rows_and_its_own_error_comes_through(warehouse):
    warehouse.publish("segments", JANUARY, [batch(1)])

    def source():
        yield batch(2)
        raise ZeroDivisionError("of the source")

    with pytest.raises(ZeroDivisionError, match="of the source"):
        warehouse.publish("segments", JANUARY, source())
    with pytest.raises(ZeroDivisionError):
        warehouse.load("purchases", source())
    assert published(warehouse) == {"2024-01-31": [(1, "a")]}
    assert not warehouse.exists("purchases")
    assert not warehouse.exists("segments_20240131_staging")
    assert warehouse.publish("segments", JANUARY, [batch(3)]) == 1


def test_a_query_that_fails_leaves_the_old_rows(warehouse):
    warehouse.publish("segments", JANUARY, [batch(1)])
    with pytest.raises(WarehouseError, match="nowhere"):
        warehouse.publish_query("segments", JANUARY, "SELECT customer_id FROM nowhere")
    with pytest.raises(WarehouseError, match="nowhere"):
        list(warehouse.read("SELECT * FROM nowhere"))
    assert published(warehouse) == {"2024-01-31": [(1, "a")]}


def test_the_columns_of_the_newest_date_are_those_of_the_view(warehouse):
    warehouse.publish("segments", FEBRUARY, [batch(1)])
    wider = pa.record_batch({"version": ["b"], "customer_id": pa.array([2], pa.int32()), "distance": [0.5]})
    warehouse.publish("segments", MARCH, [wider])
    found = rows(warehouse, "SELECT * FROM segments ORDER BY run_date")
    assert [(row["version"], row["customer_id"], row["distance"]) for row in found] == [("a", 1, None), ("b", 2, 0.5)]
    warehouse.publish("segments", JANUARY, [batch(3)])
    assert list(rows(warehouse, "SELECT * FROM segments")[0]) == ["run_date", "version", "customer_id", "distance"]


@pytest.mark.parametrize(
    ("table", "run_date", "one", "words"),
    [
        ("Segments", JANUARY, batch(1), "is no name for a table"),
        ('x"; DROP TABLE y', JANUARY, batch(1), "is no name for a table"),
        ("a" * 42, JANUARY, batch(1), "at most 41 characters"),
        ("segments_20240131", JANUARY, batch(1), "endings such as _20240131"),
        ("segments_current", JANUARY, batch(1), "endings such as"),
        ("segments", datetime(2024, 1, 31, tzinfo=UTC), batch(1), "without a time of day"),
        ("segments", JANUARY, pa.record_batch({"run_date": [1]}), "'run_date' is added"),
        ("segments", JANUARY, pa.record_batch({'a"b': [1]}), "is no name for a column"),
        ("segments", JANUARY, pa.record_batch([[1], [2]], names=["a", "a"]), "'a' occurs twice"),
    ],
)
def test_names_that_do_not_fit_are_refused(warehouse, table, run_date, one, words):
    with pytest.raises(WarehouseError, match=words):
        warehouse.publish(table, run_date, [one])
    assert not warehouse.run_dates("segments")


def test_a_batch_with_other_columns_is_refused(warehouse):
    with pytest.raises(WarehouseError, match="all batches must have the columns customer_id int64, score double"):
        warehouse.publish("segments", JANUARY, [batch(1), pa.record_batch({"customer_id": [1]})])
    assert not warehouse.exists("segments")


def test_reading_comes_in_batches_and_may_be_given_up(warehouse):
    warehouse.load("purchases", [batch(*range(5000))])
    sizes = [one.num_rows for one in warehouse.read("SELECT * FROM purchases", rows=2048)]
    assert sum(sizes) == 5000
    assert max(sizes) <= 2048
    begun = warehouse.read("SELECT * FROM purchases", rows=10)
    next(begun)
    begun.close()
    assert warehouse.load("purchases", [batch(1)]) == 1


def test_readers_see_the_rows_from_before_or_after_and_never_a_mix(warehouse):
    versions = [f"v{number}" for number in range(12)]
    warehouse.publish("segments", JANUARY, [batch(*range(300), version=versions[0])])
    seen, errors, done = [], [], threading.Event()

    def look():
        while not done.is_set():
            try:
                (row,) = rows(
                    warehouse, "SELECT count(*) AS n, min(version) AS low, max(version) AS high FROM segments"
                )
            except WarehouseError as error:
                errors.append(error)
            else:
                seen.append((row["n"], row["low"] == row["high"]))

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in versions[1:]:
        warehouse.publish("segments", JANUARY, (batch(*range(n, n + 100), version=version) for n in (0, 100, 200)))
    done.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert set(seen) == {(300, True)}


PUBLISHER = textwrap.dedent(
    """
    import sys, time
    from datetime import date
    import pyarrow as pa
    from blueprints.segmentation.warehouse import open_warehouse

    def source():
        for number in range(40):
            yield pa.record_batch({"customer_id": pa.array(range(10_000)), "version": ["new"] * 10_000})
        print("writing", flush=True)
        time.sleep(60)

    with open_warehouse(sys.argv[1]) as warehouse:
        warehouse.publish("segments", date(2024, 1, 31), source())
    """
)


def start_publisher(url):
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_a_killed_publisher_leaves_the_old_rows_and_the_next_run_cleans_up(url):
    with open_warehouse(url) as warehouse:
        warehouse.publish("segments", JANUARY, [batch(1)])
    process = start_publisher(url)
    if not url.startswith("duckdb"):
        with open_warehouse(url) as warehouse:
            assert published(warehouse) == {"2024-01-31": [(1, "a")]}
    process.kill()
    process.wait()
    with open_warehouse(url, wait=10) as warehouse:
        assert published(warehouse) == {"2024-01-31": [(1, "a")]}
        assert warehouse.publish("segments", JANUARY, [batch(2)]) == 1
        assert published(warehouse) == {"2024-01-31": [(2, "a")]}
        assert not warehouse.exists("segments_20240131_staging")
        assert not warehouse.exists("segments_20240131_old")


def test_a_duckdb_file_that_another_process_has_open_is_waited_for_and_then_refused(new_url):
    url = new_url("duckdb")
    process = start_publisher(url)
    try:
        with pytest.raises(WarehouseError, match=r"another process has had it open for 0.3 s; end that, or try later"):
            open_warehouse(url, wait=0.3)
        threading.Timer(0.5, process.kill).start()
        with open_warehouse(url, wait=20) as warehouse:
            assert not warehouse.exists("segments")
    finally:
        process.kill()
        process.wait()


def test_a_duckdb_file_can_be_read_by_many_and_is_not_made_by_reading(new_url):
    url = new_url("duckdb")
    with pytest.raises(WarehouseError, match="there is no such file to read"):
        open_warehouse(url, read_only=True)
    with open_warehouse(url) as warehouse:
        warehouse.publish("segments", JANUARY, [batch(1)])
    with open_warehouse(url, read_only=True) as warehouse:
        code = (
            "import sys; from blueprints.segmentation.warehouse import open_warehouse; "
            "warehouse = open_warehouse(sys.argv[1], read_only=True); "
            "print(sum(batch.num_rows for batch in warehouse.read('SELECT * FROM segments')))"
        )
        other = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
        assert other.stdout == "1\n"
        with pytest.raises(WarehouseError, match="read-only"):
            warehouse.publish("segments", JANUARY, [batch(1)])


@pytest.mark.parametrize(("limit", "during", "after"), [("", 400, 1000), ("?memory_limit=700MB", 700, 700)])
def test_duckdb_takes_less_memory_while_rows_stream_in_unless_the_url_says(new_url, limit, during, after):
    with open_warehouse(new_url("duckdb") + limit) as warehouse:

        def megabytes():
            number, unit = rows(warehouse, LIMIT)[0]["memory"].split()
            assert unit == "MiB"
            return round(float(number) * 2**20 / 1e6)

        def batches(*, fail):
            yield batch(1)
            seen.append(megabytes())
            if fail:
                raise ZeroDivisionError

        seen: list[int] = []
        assert megabytes() == after
        warehouse.publish("segments", JANUARY, batches(fail=False))
        assert megabytes() == after
        with pytest.raises(ZeroDivisionError):
            warehouse.publish("segments", JANUARY, batches(fail=True))
        assert megabytes() == after
    assert seen == [during] * 2


@pytest.mark.parametrize("dialect", ["duckdb", "postgresql"])
def test_a_second_publisher_is_refused_after_its_wait(new_url, dialect):
    url = new_url(dialect)
    with open_warehouse(url, wait=0.2) as warehouse:
        begun, go_on = threading.Event(), threading.Event()

        def slow():
            yield batch(1)
            begun.set()
            go_on.wait(20)

        first = threading.Thread(target=warehouse.publish, args=("segments", JANUARY, slow()))
        first.start()
        assert begun.wait(20)
        with pytest.raises(WarehouseError, match=r"has not ended within 0.2 s; run one after the other"):
            warehouse.publish("segments", JANUARY, [batch(2)])
        go_on.set()
        first.join()
        assert published(warehouse) == {"2024-01-31": [(1, "a")]}


def test_a_server_that_goes_away_leaves_the_old_rows(postgres):
    url = postgres.new_database()
    with open_warehouse(url) as warehouse:
        warehouse.publish("segments", JANUARY, [batch(1)])

        def source():
            yield batch(2)
            postgres.stop(signal.SIGQUIT)
            yield batch(3)

        try:
            with pytest.raises(WarehouseError, match="PostgreSQL: "):
                warehouse.publish("segments", JANUARY, source())
        finally:
            postgres.start()
        assert published(warehouse) == {"2024-01-31": [(1, "a")]}
        assert warehouse.publish("segments", JANUARY, [batch(2)]) == 1


def test_on_postgresql_the_views_keep_their_grants(postgres):
    url = postgres.new_database()
    postgres.execute("DROP ROLE IF EXISTS analyst", "CREATE ROLE analyst LOGIN")
    with open_warehouse(url) as warehouse:
        warehouse.publish("segments", JANUARY, [batch(1)])
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("GRANT SELECT ON segments, segments_current TO analyst")
        warehouse.publish("segments", JANUARY, [batch(2)])
        warehouse.publish("segments", FEBRUARY, [batch(3)])
    with open_warehouse(url.replace("postgres@", "analyst@")) as analyst:
        assert published(analyst) == {"2024-01-31": [(2, "a")], "2024-02-29": [(3, "a")]}
        with pytest.raises(WarehouseError, match="permission denied"):
            list(analyst.read("SELECT * FROM segments_20240131"))


def test_rows_from_a_run_that_died_in_its_swap_are_put_back(new_url):
    url = new_url("sqlite")
    with open_warehouse(url) as warehouse:
        warehouse.publish("segments", JANUARY, [batch(1)])
        warehouse.publish("segments", FEBRUARY, [batch(2)])
        with warehouse._begun() as connection:
            for sql in ("DROP VIEW segments", "DROP VIEW segments_current"):
                connection.exec_driver_sql(sql)
            connection.exec_driver_sql("ALTER TABLE segments_20240131 RENAME TO segments_20240131_old")
        with pytest.raises(ZeroDivisionError):
            warehouse.publish("segments", JANUARY, (batch(1 // number) for number in (1, 0)))
        warehouse.publish("segments", JANUARY, [batch(3)])
        assert published(warehouse) == {"2024-01-31": [(3, "a")], "2024-02-29": [(2, "a")]}
        assert not warehouse.exists("segments_20240131_old")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("warehouse.duckdb", "has no scheme; give one such as duckdb:///"),
        ("duckdb://host/file", "give three slashes"),
        ("duckdb:///", "give three slashes"),
        ("duckdb:///x.duckdb?access_mode=READ_ONLY", "may set memory_limit, threads, not access_mode"),
        ("duckdb:///x.duckdb?memory_limit=much", "cannot be opened: .*Memory must have a number"),
        ("nothing://me:hush@host/name", "none of SQLAlchemy's"),
        ("mysql://me:hush@host/name", "needs a driver that is not installed"),
        ("postgresql://me:hush@127.0.0.1:1/name", "port 1 failed: Connection refused"),
    ],
)
def test_a_url_that_does_not_work_says_why_and_keeps_its_password(url, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WarehouseError, match=words) as caught:
        open_warehouse(url)
    assert "hush" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=6, max_size=16, alphabet="abcXYZ019@:/?#[]%&=+ ,;"), st.booleans())
def test_no_password_shows_in_an_error_however_it_is_written(password, escaped):
    secret = quote(password, safe="") if escaped else password
    with pytest.raises(WarehouseError) as caught:
        open_warehouse(f"postgresql://me:{secret}@127.0.0.1:1/name")
    assert password not in str(caught.value)
    assert secret not in str(caught.value)


def test_a_malformed_url_is_not_repeated():
    message = without_secrets("invalid: postgresql://me:a[b@host", "postgresql://me:a[b@host/x")
    assert message == "the URL is malformed; write special characters of the password as %XX"


publications = st.lists(
    st.tuples(
        st.sampled_from([JANUARY, FEBRUARY, MARCH]),
        st.lists(st.lists(st.integers(0, 99), unique=True, max_size=4), max_size=3),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(publications)
def test_any_sequence_of_publications_leaves_the_last_whole_one_of_each_date(tmp_path_factory, steps):
    expected: dict[str, list[int]] = {}
    with open_warehouse(f"duckdb:///{tmp_path_factory.mktemp('w')}/w.duckdb") as warehouse:
        for run_date, parts, fails in steps:

            def source(parts=parts, fails=fails):
                yield from (batch(*part) for part in parts)
                if fails:
                    raise ZeroDivisionError

            try:
                warehouse.publish("segments", run_date, source(), schema=batch().schema)
            except ZeroDivisionError:
                continue
            expected[str(run_date)] = sorted(customer for part in parts for customer in part)
        assert [str(one) for one in warehouse.run_dates("segments")] == sorted(expected)
        if expected:
            found = {day: [customer for customer, _ in rows_] for day, rows_ in published(warehouse).items()}
            assert found == {day: customers for day, customers in expected.items() if customers}
            newest = {max(expected): expected[max(expected)]} if expected[max(expected)] else {}
            current = published(warehouse, "segments_current")
            assert {day: [customer for customer, _ in rows_] for day, rows_ in current.items()} == newest

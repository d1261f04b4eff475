"""What the segmentation benchmark makes of its measurements."""

import shutil
import socket
from datetime import date

import duckdb
import numpy as np
import pytest

from benchmarks.segmentation import agreement, choosing, online, processes, rfm, scoring, stability
from benchmarks.segmentation.data import FEATURES_TABLE, SCORED, Mixture, varied, write_features, write_transactions
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.online import Round
from blueprints.segmentation.migration import count_moves


def test_mixtures_are_standardised_and_come_again_from_their_seed():
    mixture = Mixture(70_000, 3, 4, apart=2.0, heavy=True, seed=5)
    points = mixture.points()
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(points.std(axis=0), 1)
    np.testing.assert_array_equal(points, mixture.points())


def test_data_sets_differ_in_all_that_the_figure_says():
    sets = [varied(number) for number in range(100)]
    assert min(one.rows for one in sets) < 700
    assert max(one.rows for one in sets) > 5000
    assert {one.features for one in sets} == set(range(2, 11))
    assert {one.clusters for one in sets} == set(range(2, 10))
    assert {one.heavy for one in sets} == {True, False}
    assert len({one.apart for one in sets}) == len(sets)
    assert sets == [varied(number) for number in range(100)]


def rows_of(database, query):
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_generated_features_are_of_customers_and_come_again(tmp_path):
    for name in ("one", "two"):
        write_features(tmp_path / name, 3000)
    columns = ", ".join(column.name for column in SCORED)
    query = f"SELECT customer_id, {columns} FROM {FEATURES_TABLE} ORDER BY customer_id"  # noqa: S608 - names of ours
    found = rows_of(tmp_path / "one", query)
    assert found == rows_of(tmp_path / "two", query)
    assert [row[0] for row in found] == list(range(3000))
    for place, column in enumerate(SCORED, start=1):
        values = [row[place] for row in found if row[place] is not None]
        assert len(values) == 3000 or column.nullable
        assert min(values) >= column.minimum
        assert len(set(values)) > 5


def test_generated_purchases_are_of_every_customer_and_of_some_more_than_of_others(tmp_path):
    write_transactions(tmp_path / "w", 20_000, 500)
    found = rows_of(tmp_path / "w", "SELECT customer_id, count(*), min(amount) FROM transactions GROUP BY ALL")
    assert {row[0] for row in found} == set(range(1, 501))
    counts = sorted(row[1] for row in found)
    assert counts[-1] > 10 * counts[250]
    assert min(row[2] for row in found) > 0


def test_a_stage_that_fails_is_told_with_its_reason():
    with pytest.raises(RuntimeError, match=r"(?s)choosing nothing failed: .*KeyError: 'nothing'"):
        processes.call("choosing", "nothing")


def test_the_peak_is_the_most_that_was_ever_held():
    held = np.ones(20_000_000)
    during = processes.peak_mb()
    del held
    # The kernel counts pages a little late.
    assert processes.peak_mb() > during - 5 > 160


def chosen(seconds, silhouettes, exact, k=3, peak=300.0):
    return {
        "seconds": seconds,
        "peak_mb": peak,
        "k": k,
        "inertias": [10.0, 5.5],
        "silhouettes": silhouettes,
        "exact": exact,
    }


LOOP = {"seconds": 200.0, "peak_mb": 1200.0, "k": 3, "inertias": [10.0, 5.0], "silhouettes": [0.4, 0.5]}


def test_speed_ups_are_of_the_median_run_and_errors_the_worst():
    runs = [chosen(seconds, [(0.4, 0.4, 0.4)] * 2, None) for seconds in (50, 8, 10)]
    figures = choosing.exact_figures(50_000, LOOP, runs, chosen(20, [], None), {"silhouettes": [0.4, 0.4999]})
    assert figures["choose_k_exact_speedup"]["value"] == 20
    assert figures["choose_k_exact_s"]["baseline"] == 200
    assert figures["choose_k_exact_speedup_with_stability"]["value"] == 10
    assert figures["choose_k_exact_max_abs_diff"]["value"] == pytest.approx(1e-4)
    assert figures["choose_k_inertia_ratio"]["value"] == 1.1
    assert figures["choose_k_exact_peak_mb"]["baseline"] == 1200


def test_intervals_are_counted_over_every_k_of_every_run():
    inside, outside = (0.4, 0.39, 0.41), (0.5, 0.49, 0.52)
    runs = [chosen(4, [inside, outside], [0.395, 0.53]), chosen(5, [inside, outside], [0.41, 0.5], k=4)]
    figures = choosing.sampled_figures(50_000, LOOP, runs, chosen(8, [], None), {"inside": 90, "intervals": 100})
    assert figures["choose_k_sampled_inside"]["value"] == 0.75
    assert figures["choose_k_sampled_max_abs_error"]["value"] == pytest.approx(0.03)
    assert figures["choose_k_sampled_coverage"]["value"] == 0.9
    assert figures["choose_k_sampled_speedup"]["value"] == pytest.approx(44.44)
    assert "Chosen: 3, 4, by the loop 3" in figures["choose_k_sampled_speedup"]["how"]


def test_an_interval_without_width_holds_its_value_up_to_rounding():
    assert choosing.holds(0.4, 0.4 + 1e-9, 0.4)
    assert not choosing.holds(0.4, 0.4 + 1e-4, 0.4)


def test_the_peak_of_many_rows_is_the_worst_of_the_runs():
    figures = choosing.large_figures(
        1_000_000, [chosen(9, [], None, peak=peak) for peak in (400.0, 500.0)], {"seconds": 30, "peak_mb": 1000, "k": 3}
    )
    assert figures["choose_k_1m_peak_mb"]["value"] == 500
    assert figures["choose_k_1m_s"]["ratio"] == pytest.approx(0.3)


def test_stages_of_choosing_agree_on_few_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "KS", range(3, 7))
    labels = str(tmp_path / "labels.npy")
    loop = choosing.plain_loop(400, labels)
    ours = choosing.ours(400, "sampled", bootstraps=0, seed=0)
    assert ours["k"] == loop["k"]
    np.testing.assert_allclose(choosing.silhouettes_of(400, labels)["silhouettes"], loop["silhouettes"], atol=1e-5)
    figures = choosing.sampled_figures(400, loop, [ours], ours, choosing.coverage(400, 1))
    assert figures["choose_k_sampled_inside"]["value"] == figures["choose_k_sampled_coverage"]["value"] == 1


def test_agreement_is_of_the_data_sets_with_a_clear_k():
    def one(margin, k, ours, again=3, sampled=3):
        return {"rows": 1000, "margin": margin, "k": k, "ours": ours, "again": again, "sampled": sampled, "gain": 0.1}

    sets = [one(0.05, 3, 3), one(0.02, 3, 4), one(0.011, 3, 3, again=5), one(0.2, 3, 3), one(0.001, 2, 6)]
    figures = agreement.figures(sets)
    assert figures["k_agreement"]["value"] == 0.75
    assert figures["k_agreement"]["baseline"] == figures["k_self_agreement"]["value"] == 0.75
    assert figures["k_agreement_sampled"]["value"] == 1
    assert figures["k_agreement_all"]["value"] == 0.6
    assert figures["k_clear_sets"]["value"] == 4
    assert "differ (1 times), choose_k's has the higher exact silhouette 1 times" in figures["k_agreement"]["how"]
    assert agreement.figures(sets[-1:])["k_agreement"]["value"] is None


def test_one_data_set_is_compared_with_everything(monkeypatch):
    monkeypatch.setattr(agreement, "KS", range(2, 5))
    number = min(range(100), key=lambda number: varied(number).rows)
    (found,) = agreement.compare([number])["sets"]
    assert found["ours"] == found["sampled"] == found["k"]


def test_the_plain_way_is_scaled_if_memory_was_short_and_no_disk_is_told():
    ours = [{"seconds": seconds, "peak_mb": peak} for seconds, peak in ((5, 900), (4, 1000), (9, 800))]
    plain = {"seconds": 2, "peak_mb": 500, "rows": 1_000_000}
    same = {"same": 99, "rows": 100}
    figures = scoring.figures(10_000_000, 100_000_000, ours, plain, same, None)
    assert figures["score_10m_rows_s"]["value"] == 5
    assert figures["score_10m_rows_s"]["baseline"] == 20
    assert "1,000,000 rows and scaled" in figures["score_10m_rows_s"]["how"]
    assert figures["score_10m_peak_mb"]["value"] == 1000
    assert figures["score_100m_rows_s"]["value"] is figures["score_100m_peak_mb"]["ratio"] is None
    assert "12 GB" in figures["score_100m_rows_s"]["how"]
    large = {"seconds": 45, "peak_mb": 1050}
    figures = scoring.figures(10_000_000, 100_000_000, ours, plain | {"rows": 10_000_000}, same, large)
    assert figures["score_100m_peak_mb"]["ratio"] == pytest.approx(1.05)
    assert "scaled" not in figures["score_10m_rows_s"]["how"]


def test_segments_are_the_same_whatever_they_are_called():
    assert scoring.same_segments([(0, 3, 40), (1, 1, 59), (1, 3, 1)]) == {"same": 99, "rows": 100}


def test_both_ways_of_scoring_give_every_customer_the_same_segment(tmp_path):
    database, folder = str(tmp_path / "w.duckdb"), str(tmp_path / "model")
    scoring.make(database, 4000)
    scoring.train(database, folder)
    assert scoring.ours(database, folder)["rows"] == scoring.plain(database, folder, 4000)["rows"] == 4000
    assert scoring.agreement(database)["rows"] == 4000
    assert scoring.agreement(database)["same"] >= 3998


@pytest.mark.parametrize("rich", [False, True])
def test_features_are_the_same_in_pandas_and_a_difference_is_seen(tmp_path, rich):
    database = str(tmp_path / "w.duckdb")
    rfm.make(database, 4000, 700)
    assert rfm.ours(database, rich)["rows"] == rfm.plain(database, rich)["rows"]
    assert rfm.difference(database) == {"rows": 0}
    with duckdb.connect(database) as connection:
        connection.execute("UPDATE plain_features SET monetary = monetary + 1 WHERE customer_id IN (1, 2, 3)")
        connection.execute("DELETE FROM plain_features WHERE customer_id = 4")
    assert rfm.difference(database) == {"rows": 4}


def test_features_of_purchases_have_the_goals_names():
    ours = [{"seconds": seconds, "peak_mb": 800} for seconds in (2, 3, 1)]
    figures = rfm.figures("basic", Effort(), ours, {"seconds": 8, "peak_mb": 1600})
    assert figures["rfm_10m_s_basic"]["value"] == 2
    assert figures["rfm_10m_s_basic"]["ratio"] == 0.25
    assert figures["rfm_10m_peak_mb_basic"]["baseline"] == 1600


def test_answers_are_held_against_the_chain_and_one_read_of_the_same_round():
    def rounds(*ours):
        return [Round((1, value), (1, 3), (0.5, 1)) for value in ours]

    figures = online.figures({"sqlite": rounds(4, 5, 6), "redis": rounds(8, 5, 4)})
    assert figures["online_p99_ms_sqlite"]["value"] == 5
    assert figures["online_p99_ms_sqlite"]["baseline"] == 4
    assert figures["online_p99_ms_sqlite"]["ratio"] == 1.25
    assert figures["online_p50_ms_sqlite"]["baseline"] == 1.5
    assert online.figures({"sqlite": rounds(4), "redis": rounds(8)})["online_p99_ms"]["value"] == 8
    alone = online.figures({"sqlite": rounds(4)})
    assert alone["online_p99_ms"]["value"] == 4
    assert alone["online_p99_ms_redis"]["value"] is None
    assert "redis-server" in alone["online_p99_ms_redis"]["how"]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is absent: install Debian's redis-server")
def test_redis_is_there_while_it_is_measured(tmp_path):
    with online.redis_server(tmp_path) as address:
        host, port = address.split(":")
        socket.create_connection((host, int(port)), timeout=1).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=1)


def test_ids_are_held_against_numbers_without_matching():
    before, after = np.array([1, 1, 2, 2, 0, 2]), np.array([1, 2, 2, 2, 1, 1])
    migration = count_moves(
        before,
        after,
        unchanged=np.array([True, True, True, True, True, False]),
        dates=(date(1998, 5, 1), date(1998, 6, 1)),
    )
    pair = stability.pair_of(migration, {1: 1, 2: 2}, {1: 2, 2: 1})
    assert pair["customers"] == 4
    assert pair["kept"] == 0.75
    assert pair["renumbered"] == 0.25


def test_the_two_runs_of_the_goal_are_found_among_all():
    def pair(before, after, kept, segments=(2, 2)):
        return {
            "before": before,
            "after": after,
            "customers": 100,
            "segments": segments,
            "kept": kept,
            "renumbered": 0.5,
        }

    pairs = [
        pair("1997-02-01", "1997-03-01", 0.2, (8, 2)),
        pair("1998-05-01", "1998-06-01", 0.95),
        pair("1998-06-01", "1998-07-01", 0.9),
    ]
    figures = stability.figures(pairs)
    assert figures["segment_id_stability"]["value"] == 0.95
    assert figures["segment_id_stability"]["baseline"] == 0.5
    assert figures["segment_id_stability_median"]["value"] == 0.9
    assert figures["segment_id_stability_least"]["value"] == 0.2
    assert "1997-02-01 to 1997-03-01 (8 and 2 segments)" in figures["segment_id_stability_least"]["how"]
    assert [day.isoformat() for day in stability.MONTHS][:: len(stability.MONTHS) - 1] == ["1997-02-01", "1998-07-01"]
    assert set(stability.COMPARED) <= set(stability.MONTHS)

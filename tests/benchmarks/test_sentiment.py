"""What the sentiment benchmark makes of its measurements."""

import json

import numpy as np
import pytest

from benchmarks.load import Load
from benchmarks.sentiment import throughput
from benchmarks.sentiment.footprint import size_mb
from benchmarks.sentiment.plot import latency_throughput
from benchmarks.sentiment.pressure import recovery_seconds
from benchmarks.sentiment.services import Service
from benchmarks.sentiment.throughput import STUDENT, TEACHER, USUAL, USUAL_ONE_THREAD, Effort, Point


def load(rate, latency=0.01, seconds=10.0, status=200):
    at = np.arange(0, seconds, 1 / rate)
    return Load(at, np.full(len(at), latency), np.full(len(at), status, np.uint16), 0.0, seconds, 0.1)


def test_recovery_is_from_when_a_whole_second_is_normal():
    probe = load(50)
    probe.latency[probe.at < 4.1] = 0.5
    assert recovery_seconds(probe, 3.0, normal=0.01) == pytest.approx(1.25, abs=0.01)
    assert recovery_seconds(load(50), 3.0, normal=0.01) == 0
    assert recovery_seconds(load(50, latency=0.5), 3.0, normal=0.01) == float("inf")
    assert recovery_seconds(load(50, status=503), 3.0, normal=0.01) == float("inf")


def test_throughput_is_the_median_of_the_rounds_ratios():
    measured = {
        USUAL: [load(10), load(20), load(10)],
        USUAL_ONE_THREAD: [load(15)] * 3,
        TEACHER: [load(60), load(60), load(80)],
        STUDENT: [load(120)] * 3,
        "litserve": [load(30)] * 3,
    }
    figures = throughput.throughput_figures(measured, "texts")
    assert figures["throughput_vs_seed"]["value"] == pytest.approx(6, rel=0.02)
    assert figures["throughput_vs_seed_student"]["value"] == pytest.approx(12, rel=0.02)
    assert figures["throughput_vs_litserve"]["value"] == pytest.approx(2, rel=0.02)
    assert figures["rate"]["value"] == pytest.approx(60, rel=0.02)
    assert figures["rate"]["baseline"] == pytest.approx(10, rel=0.02)


def test_services_are_measured_in_turns_and_failures_end_it():
    asked = []

    def turn(service):
        asked.append(service.name)
        return load(10, status=200 if len(asked) < 5 else 500)

    services = [Service(name, None) for name in "ab"]
    first, second = throughput.in_turns(services, 2, turn)
    assert asked == ["a", "b", "a", "b"]
    assert len(first) == len(second) == 2
    with pytest.raises(RuntimeError, match=r"a: requests failed.*500"):
        throughput.in_turns(services, 1, turn)


class Known:
    """A service with known latencies that cannot keep up with more than `most` requests/s."""

    def __init__(self, most):
        self.most = most

    def load(self, bodies, seconds, *, rate, warmup=1.0):
        return load(min(rate, self.most), seconds=seconds)


def test_curves_hold_the_rates_that_a_service_keeps_up_with(tmp_path):
    services = {"fast": Known(1000), "slow": Known(50)}
    found = throughput.curves(services, {"fast": 100, "slow": 100}, tmp_path, Effort(), lambda _: None)
    assert [round(point.offered) for point in found["fast"]] == [20, 40, 60, 75, 85, 95]
    assert [round(point.offered) for point in found["slow"]] == [20, 40]
    assert found["fast"][0].p99 == pytest.approx(0.01)


def test_the_usual_peak_is_its_best_number_of_clients(tmp_path):
    class FastAtTwo:
        def load(self, bodies, seconds, *, clients):
            return load({1: 10, 2: 40, 8: 20}[clients])

    assert throughput.highest_rate(FastAtTwo(), 30, tmp_path, Effort()) == pytest.approx(40, rel=0.02)
    assert throughput.highest_rate(FastAtTwo(), 50, tmp_path, Effort()) == 50


class Labelled:
    def __init__(self, other):
        self.other = other

    def label(self, body):
        return "other" if json.loads(body)["text"] in self.other else "same"


def test_services_that_answer_otherwise_are_refused(tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": str(number)}) + "\n" for number in range(100)))
    few, many = {str(number) for number in range(5)}, {str(number) for number in range(15)}
    throughput.check_answers({USUAL: Labelled([]), TEACHER: Labelled(few), STUDENT: Labelled(many)}, texts)
    with pytest.raises(RuntimeError, match="int8 teacher and usual agree on 85%"):
        throughput.check_answers({USUAL: Labelled([]), TEACHER: Labelled(many)}, texts)


def test_hard_links_are_counted_once(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert size_mb(tmp_path) == pytest.approx(1, abs=0.1)


def test_the_plot_is_drawn_for_any_order_of_services(tmp_path):
    file = tmp_path / "docs" / "plot.png"
    points = [Point(10, 10, 0.01, 0.02), Point(20, 20, 0.02, 0.5)]
    latency_throughput(dict.fromkeys((STUDENT, USUAL, TEACHER, USUAL_ONE_THREAD), points), "words", file)
    assert file.read_bytes().startswith(b"\x89PNG")

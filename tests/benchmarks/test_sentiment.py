"""What the sentiment benchmark makes of its measurements."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.figures import figure
from benchmarks.load import Load
from benchmarks.sentiment import material, throughput
from benchmarks.sentiment.footprint import size_mb
from benchmarks.sentiment.known_server import grid
from benchmarks.sentiment.material import training_code, training_key, write_graph
from benchmarks.sentiment.plot import latency_throughput
from benchmarks.sentiment.pressure import recovery_seconds
from benchmarks.sentiment.quality import in_int8
from benchmarks.sentiment.services import Service
from benchmarks.sentiment.throughput import STUDENT, TEACHER, USUAL, USUAL_ONE_THREAD, Effort, Point
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT
from tests.tiny_encoder import examples, tiny_encoder


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
    figures = throughput.throughput_figures(measured, "texts", {"litserve": "2 workers"})
    assert figures["throughput_vs_seed"]["value"] == pytest.approx(6, rel=0.02)
    assert figures["throughput_vs_seed_student"]["value"] == pytest.approx(12, rel=0.02)
    assert figures["throughput_vs_litserve"]["value"] == pytest.approx(2, rel=0.02)
    assert "the best of a grid of its settings: 2 workers;" in figures["throughput_vs_litserve"]["how"]
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

    name = "known"

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


def test_the_rate_is_lowered_until_the_usual_service_keeps_up(tmp_path):
    services = {USUAL: Known(50), TEACHER: Known(1000), STUDENT: Known(1000)}
    found = throughput.tails(services, 80, tmp_path, Effort(), lambda _: None)
    assert "open loop at 64 requests/s" in found["p99_vs_seed"]["how"]
    assert "answered 78%" in found["p99_vs_seed"]["how"]
    assert "open loop at 51.84 requests/s" in found["p99_vs_seed_sustained"]["how"]
    services[USUAL] = Known(1000)
    found = throughput.tails(services, 80, tmp_path, Effort(), lambda _: None)
    assert "open loop at 64 requests/s" in found["p99_vs_seed_sustained"]["how"]
    services[USUAL] = Known(1)
    with pytest.raises(RuntimeError, match="does not keep up"):
        throughput.tails(services, 80, tmp_path, Effort(), lambda _: None)


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


def parts(train="good", validation="so so", test="bad"):
    rows = {"train": train, "validation": validation, "test": test}
    return SimpleNamespace(**{part: pd.DataFrame({"text": [text], "label": ["a"]}) for part, text in rows.items()})


def test_other_rows_code_or_torch_are_trained_anew(tmp_path, monkeypatch):
    schema = SimpleNamespace(model_dump_json=lambda: "{}")
    key = training_key(parts(), schema, "2.13.0")
    others = [
        training_key(parts(train="so so", validation="good"), schema, "2.13.0"),
        training_key(parts(), schema, "2.14.0"),
    ]
    for folder in ("benchmarks/sentiment", "blueprints/sentiment"):
        shutil.copytree(material.PROJECT / folder, tmp_path / folder)
    monkeypatch.setattr(material, "PROJECT", tmp_path)
    for name in ("encoder_graph", "quantization", "served_model", "temperature"):
        (tmp_path / f"blueprints/sentiment/{name}.py").write_text("changed")
    assert training_key(parts(), schema, "2.13.0") == key
    (tmp_path / "blueprints/sentiment/torch_training.py").write_text("changed")
    others.append(training_key(parts(), schema, "2.13.0"))
    assert len({key, *others}) == 4


def test_all_code_that_trains_decides_about_a_new_training():
    names = {file.stem for file in training_code(material.PROJECT)}
    assert {"training", "encoder", "examples", "finetuning", "distillation", "torch_model", "torch_training"} <= names
    assert not {"encoder_graph", "quantization", "served_model", "temperature", "classifier"} & names


def trained_encoder():
    encoder = tiny_encoder()
    weights = {**encoder.weights, HEAD_WEIGHT: np.ones((2, 32), np.float32), HEAD_BIAS: np.zeros(2, np.float32)}
    return replace(encoder, weights=weights)


def test_the_served_graph_is_written_anew_from_the_weights(tmp_path):
    trained_encoder().save(tmp_path / "encoder")
    (tmp_path / "model.onnx").write_bytes(b"of old code")
    write_graph(tmp_path, ("negative", "positive"), "finetuned")
    classifier = TextClassifier.open(tmp_path)
    assert classifier.config.method == "finetuned"
    assert classifier.classify(["good"]).shape == (1, 2)


def test_what_int8_loses_is_measured_even_if_fp32_is_served(tmp_path):
    trained_encoder().save(tmp_path / "encoder")
    write_graph(tmp_path, ("negative", "positive"), "finetuned")
    assert in_int8(tmp_path, examples(40)).config.precision == "int8"


def test_the_known_server_is_tried_with_and_without_batches_on_any_number_of_cores():
    assert {setting.max_batch_size for setting in grid(2)} == {1, 8, 16}
    assert {(setting.workers, setting.threads) for setting in grid(2)} == {(1, 2), (2, 1)}
    assert len(grid(2)) == len(set(grid(2))) == 2 * len(grid(1))


def test_what_is_infinite_is_no_value():
    none = figure(float("inf"), "s", "how", baseline=float("nan"), ratio=None)
    assert none["value"] is none["baseline"] is none["ratio"] is None

"""The predictor as a process, on a lexicon that can be checked by hand."""

import json
import math
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.inference_services.conftest import start
from tests.lexicon_model import SPECIAL, WEIGHTS, lexicon_package

SENTIMENT = "inference_services.sentiment"


def positive(text):
    """What the lexicon says of a text, by hand."""
    total = sum(WEIGHTS.get(word, 0.0) for word in re.findall(r"\w+", text.lower()))
    return 1 / (1 + math.exp(-total))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return lexicon_package(tmp_path_factory.mktemp("lexicon") / "sentiment")


@pytest.fixture(scope="module")
def server(package, tmp_path_factory):
    running = start("predictor", package.folder, tmp_path_factory.mktemp("server"), package=SENTIMENT)
    try:
        running.wait("/readyz")
        yield running
    finally:
        assert running.stop() == 0


texts = (
    st.lists(st.sampled_from([*WEIGHTS, "zebra", "!"]), min_size=2, max_size=150)
    .map(" ".join)
    .filter(lambda text: 3 <= len(text) <= 512)
)


@settings(max_examples=40, deadline=None)
@given(text=texts)
def test_a_text_gets_its_label_and_probability(server, text):
    answer = server.client.post("/predict", json={"text": text})
    assert answer.status_code == 200
    body = answer.json()
    assert body["probabilities"]["positive"] == pytest.approx(by_windows(text), abs=1e-5)
    assert sum(body["probabilities"].values()) == pytest.approx(1)
    assert body["probability"] == max(body["probabilities"].values())
    assert body["probabilities"][body["label"]] == body["probability"]


def by_windows(text):
    """As `positive`, but longer texts are read in windows of 62 words that share 16, weighted by their tokens."""
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    if len(words) <= 62:
        return positive(text)
    parts = [words[begin : begin + 62] for begin in range(0, len(words) - 16, 46)]
    weights = [len(part) + 2 for part in parts]
    sums = [sum(WEIGHTS.get(word, 0.0) for word in part) for part in parts]
    return 1 / (1 + math.exp(-np.average(sums, weights=weights)))


@settings(max_examples=15, deadline=None)
@given(many=st.lists(texts, min_size=1, max_size=20))
def test_every_protocol_gives_the_same_answers(server, many):
    typed = server.client.post("/predict", json={"texts": many}).json()["predictions"]
    v1 = server.client.post("/v1/models/sentiment:predict", json={"instances": many}).json()["predictions"]
    body = {"inputs": [{"name": "text", "shape": [len(many)], "datatype": "BYTES", "data": many}]}
    v2 = server.client.post("/v2/models/sentiment/infer", json=body).json()["outputs"]
    with grpc.insecure_channel(server.grpc_target) as channel:
        request = pb.ModelInferRequest(model_name="sentiment")
        tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(many)])
        tensor.contents.bytes_contents.extend(text.encode() for text in many)
        rpc = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=20)
    labels = [one["label"] for one in typed]
    assert [one["label"] for one in v1] == labels == v2[0]["data"]
    assert [value.decode() for value in rpc.outputs[0].contents.bytes_contents] == labels
    shares = [[one["probabilities"][label] for label in ("negative", "positive")] for one in typed]
    np.testing.assert_allclose(np.reshape(v2[1]["data"], v2[1]["shape"]), shares, atol=1e-6)
    np.testing.assert_allclose(np.reshape(rpc.outputs[1].contents.fp64_contents, (-1, 2)), shares, atol=1e-6)


def tokens(rows, ids=None, mask=None, datatype="INT64"):
    ids = ids or [[2, 5, 3, 0]] * rows
    mask = mask or [[1, 1, 1, 0]] * rows
    return {
        "inputs": [
            {"name": name, "shape": [len(values), len(values[0])], "datatype": datatype, "data": values}
            for name, values in (("input_ids", ids), ("attention_mask", mask))
        ],
        "outputs": [{"name": "logits"}],
    }


def test_tokens_are_taken_as_they_are(server):
    good = len(SPECIAL) + list(WEIGHTS).index("good")
    awful = len(SPECIAL) + list(WEIGHTS).index("awful")
    body = tokens(2, [[2, good, 3, awful], [2, awful, good, 3]], [[1, 1, 1, 0], [1, 1, 1, 1]])
    (logits,) = server.client.post("/v2/models/sentiment/infer", json=body).json()["outputs"]
    assert np.reshape(logits["data"], logits["shape"])[:, 1].tolist() == [2.0, -1.0]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (tokens(1, [[2, 10_000, 3, 0]]), "input_ids"),
        (tokens(1, [[2, -1, 3, 0]]), "input_ids"),
        (tokens(1, None, [[1, 0, 1, 0]]), "attention_mask"),
        (tokens(1, None, [[2, 0, 0, 0]]), "attention_mask"),
        (tokens(1, None, [[0, 0, 0, 0]]), "input_ids"),
        (tokens(1, [[2] * 65], [[1] * 65]), "input_ids"),
        (tokens(1, None, [[1, 1, 1]]), "attention_mask"),
        (tokens(1, [[2, 2.5, 3, 0]]), "inputs"),
        (tokens(1, [[2, None, 3, 0]]), "inputs"),
        (tokens(1, [[2, "a", 3, 0]]), "inputs"),
        (tokens(1, [[2, 10**25, 3, 0]]), "inputs"),
        ({"inputs": tokens(1)["inputs"][:1]}, "attention_mask"),
        ({"inputs": [*tokens(1)["inputs"], {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["abc"]}]}, ""),
        ({"inputs": []}, "inputs"),
        (
            {
                "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a good film"]}],
                "outputs": [{"name": "logits"}],
            },
            "outputs",
        ),
    ],
)
def test_tensors_that_are_none_are_refused_by_name(server, body, field):
    answer = server.client.post("/v2/models/sentiment/infer", json=body)
    assert answer.status_code == 422, answer.text
    assert field in json.dumps(answer.json()["detail"][0]["loc"])


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "text"]),
        ({"text": "ab"}, ["body", "text"]),
        ({"text": "   \n\t   "}, ["body", "text"]),
        ({"text": "a" * 513}, ["body", "text"]),
        ({"text": 7}, ["body", "text"]),
        ({"text": None}, ["body", "text"]),
        ({"text": "abc\u0000def"}, ["body", "text"]),
        ({"text": "a good film", "language": "en"}, ["body", "language"]),
        ({"texts": []}, ["body", "texts"]),
        ({"texts": ["a good film", 7]}, ["body", "texts", 1]),
        ({"texts": "a good film"}, ["body", "texts"]),
        ([], ["body"]),
    ],
)
def test_texts_that_are_none_are_refused_by_name(server, body, loc):
    answer = server.client.post("/predict", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == loc


@pytest.mark.parametrize(
    "text", ["👍👍👍", "日本語のテキスト", "e\u0301e\u0301e\u0301", "'; DROP TABLE--", "<b>good</b>", "\ufeffgood"]
)
def test_any_script_is_answered(server, text):
    assert server.client.post("/predict", json={"text": text}).status_code == 200


def test_a_lone_surrogate_is_refused(server):
    answer = server.client.post(
        "/predict", content=b'{"text": "abc\\ud800def"}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422


def test_concurrent_requests_get_their_own_answers_and_share_batches(server):
    many = [f"{'good ' * (n % 9)}{'bad ' * (n % 4)}film story" for n in range(400)]
    with ThreadPoolExecutor(32) as pool, httpx.Client(base_url=server.url, limits=httpx.Limits()) as client:
        answers = list(pool.map(lambda text: client.post("/predict", json={"text": text}).json(), many))
    for text, answer in zip(many, answers, strict=True):
        assert answer["probabilities"]["positive"] == pytest.approx(positive(text), abs=1e-5)


def test_what_the_model_says_is_counted(server):
    def counted(label):
        text = server.client.get("/metrics").text
        match = re.search(rf'model_predictions_count{{[^}}]*output="{label}"[^}}]*}} (\S+)', text)
        return float(match[1]) if match else 0.0

    before = counted("label"), counted("probability_positive")
    server.client.post("/predict", json={"texts": ["a good film", "a bad film"]})
    assert (counted("label"), counted("probability_positive")) == (before[0] + 2, before[1] + 2)
    assert "model_batch_size_count" in server.client.get("/metrics").text


def test_a_request_with_too_little_time_is_refused_quickly(server):
    begun = time.monotonic()
    answer = server.client.post("/predict", json={"text": "a good film"}, headers={"x-request-timeout": "0.0000001"})
    assert answer.status_code in (429, 504)
    assert time.monotonic() - begun < 1


def test_a_stored_plan_is_used_by_the_next_start_and_a_damaged_one_is_measured_again(package, tmp_path):
    plan = tmp_path / "plans" / "plan.json"
    for content in (None, "kept", "{damaged"):
        if content == "{damaged":
            plan.write_text(content)
        elif content == "kept":
            stored = json.loads(plan.read_text())
            stored["slots"] = 7
            plan.write_text(json.dumps(stored))
        running = start("predictor", package.folder, tmp_path, f"--batching_plan={plan}", package=SENTIMENT)
        try:
            running.wait("/readyz")
            assert running.client.post("/predict", json={"text": "a good film"}).status_code == 200
        finally:
            assert running.stop() == 0
        slots = re.search(r'"slots":(\d+)', running.log.read_text())
        assert slots is not None
        assert (int(slots[1]) == 7) == (content == "kept")
    assert json.loads(plan.read_text())["slots"] != 7


def test_requests_that_run_when_the_server_ends_are_answered(package, tmp_path):
    flags = ("--slots=1", "--max_batch=1")
    running = start("predictor", package.folder, tmp_path, *flags, package=SENTIMENT)
    running.wait("/readyz")
    answers = []

    def ask():
        with httpx.Client(base_url=running.url, timeout=20) as client:
            answers.append(client.post("/predict", json={"texts": ["a good film"] * 900}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while "requests_in_flight 4.0" not in running.client.get("/metrics").text:
        assert not answers, "answered before the server was told to end"
    assert running.stop() == 0
    for thread in threads:
        thread.join()
    assert answers == [200] * 4


def test_recent_texts_are_answered_from_the_cache(package, tmp_path):
    running = start("predictor", package.folder, tmp_path, "--cache_texts=2", package=SENTIMENT)

    def windows():
        return float(re.search(r"model_batch_size_sum (\S+)", running.client.get("/metrics").text)[1])

    def ask(*many):
        answer = running.client.post("/predict", json={"texts": list(many)}).json()["predictions"]
        for text, one in zip(many, answer, strict=True):
            assert one["probabilities"]["positive"] == pytest.approx(positive(text), abs=1e-5)

    try:
        running.wait("/readyz")
        ask("a good film", "a bad film", "a good film")
        assert windows() == 2
        ask("a bad film", "a good film")
        assert windows() == 2
        ask("a dull film", "a bad film", "a great film", "a good film")
        assert windows() == 4
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize(
    "flag", ["--cache_texts=-1", "--max_queue_seconds=nan", "--max_wait_ms=-1", "--slots=0", "--threads=x"]
)
def test_a_flag_that_makes_no_sense_ends_the_start_with_its_name(package, tmp_path, flag):
    running = start("predictor", package.folder, tmp_path, flag, package=SENTIMENT)
    assert running.process.wait(60) == 2
    running.client.close()
    assert flag.partition("=")[0] in running.log.read_text()

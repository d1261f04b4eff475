"""The transformer, with a real predictor behind it over REST and over gRPC, and with one that is full."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import ClassVar

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from inference_services.sentiment.transformer import batches
from tests.inference_services.conftest import start
from tests.inference_services.documented import answers_as_documented
from tests.inference_services.sentiment.conftest import SENTIMENT
from tests.inference_services.sentiment.test_schemas import BAD
from tests.lexicon_model import WEIGHTS

V1 = "/v1/models/sentiment:predict"
V2 = "/v2/models/sentiment/infer"


def some_texts(count: int = 60) -> list[str]:
    """Texts of 1 to 90 words; many have several windows of 64 tokens."""
    random = np.random.default_rng(3)
    words = [*WEIGHTS, "zebra", "😀", "فيلم"]
    return [" ".join(random.choice(words, random.integers(1, 91)))[:512].strip() + " end" for _ in range(count)]


def tensor(values):
    return {"inputs": [{"name": "text", "shape": [len(values)], "datatype": "BYTES", "data": values}]}


def test_it_gives_the_predictors_answers_over_every_protocol(text_transformer, text_predictor):
    texts = [text[:512] for text in some_texts()]
    expected = text_predictor.client.post("/predict", json={"texts": texts}).json()
    shares = [[*one["probabilities"].values()] for one in expected["predictions"]]
    for answer in (
        text_transformer.client.post("/predict", json={"texts": texts}).json(),
        text_transformer.client.post(V1, json={"instances": [{"text": text} for text in texts]}).json(),
    ):
        assert answer["model_version"] == expected["model_version"]
        assert [one["label"] for one in answer["predictions"]] == [one["label"] for one in expected["predictions"]]
        found = [[*one["probabilities"].values()] for one in answer["predictions"]]
        np.testing.assert_allclose(found, shares, atol=1e-6)
    label, probabilities = text_transformer.client.post(V2, json=tensor(texts)).json()["outputs"]
    assert label["data"] == [one["label"] for one in expected["predictions"]]
    np.testing.assert_allclose(np.reshape(probabilities["data"], (-1, 2)), shares, atol=1e-6)
    single = text_transformer.client.post("/predict", json={"text": texts[0]}).json()
    assert single.keys() == {"label", "probability", "probabilities", "model_version"}
    np.testing.assert_allclose([*single["probabilities"].values()], shares[0], atol=1e-6)


def test_it_takes_texts_over_grpc(text_transformer):
    request = pb.ModelInferRequest(model_name="sentiment")
    added = request.inputs.add(name="text", datatype="BYTES", shape=[2])
    added.contents.bytes_contents.extend([b"a good film", b"dull"])
    with grpc.insecure_channel(text_transformer.grpc_target) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=20)
        assert list(answer.outputs[0].contents.bytes_contents) == [b"positive", b"negative"]
        added.contents.bytes_contents[1] = b"a\x00film"
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "inputs.text[1]: character 1 is the control character U+0000"


@pytest.mark.parametrize(
    "value", [value for value, kind in BAD if kind != "string_unicode" and type(value) is not bytes]
)
def test_what_cannot_be_read_is_refused_with_its_place(text_transformer, value):
    if type(value) is str and len(value) > 40:
        value *= 600
    for path, body, loc in (
        ("/predict", {"text": value}, ["body", "text"]),
        (V1, {"instances": ["fine", value]}, ["body", "instances", 1]),
        (V2, tensor(["fine", value]), ["body", "inputs", "text", 1]),
    ):
        answer = text_transformer.client.post(path, json=body)
        assert answer.status_code == 422, path
        assert answer.json()["detail"][0]["loc"] == loc


def test_many_texts_are_answered_in_their_order(text_transformer):
    texts = [("good " if index % 3 else "bad ") * (1 + index % 90) for index in range(1_000)]
    answer = text_transformer.client.post("/predict", json={"texts": texts}).json()["predictions"]
    assert [one["label"] for one in answer] == ["positive" if index % 3 else "negative" for index in range(1_000)]
    refused = text_transformer.client.post("/predict", json={"texts": ["abc"] * 1_001})
    assert refused.json()["detail"][0]["msg"] == "at most 1000 texts in one request, not 1001"


@given(lengths=st.lists(st.integers(3, 256), max_size=300), max_rows=st.sampled_from([1, 7, 10_000]))
def test_every_window_is_sent_once_with_others_of_its_length(lengths, max_rows):
    sent = list(batches(lengths, max_rows=max_rows))
    assert sorted(row for batch in sent for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= max_rows for batch in sent)
    assert all(len(batch) * max(lengths[row] for row in batch) <= 16_384 for batch in sent)
    assert all(lengths[before[-1]] <= lengths[after[0]] for before, after in pairwise(sent))


def test_it_answers_as_documented(text_servers):
    answers_as_documented(text_servers["transformer"])


class _Full(BaseHTTPRequestHandler):
    """A predictor that has more to do than it can, and keeps what it was asked."""

    asked: ClassVar[list[tuple[dict[str, str], dict]]] = []

    def do_GET(self):
        self._answer(200, {"ready": True})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self._answer(429, {"detail": [{"loc": ["server"], "msg": "the queue is full", "type": "overloaded"}]})

    def _answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_full_predictor_makes_it_answer_429_and_one_that_is_gone_503(text_package, tmp_path):
    with HTTPServer(("127.0.0.1", 0), _Full) as predictor:
        threading.Thread(target=predictor.serve_forever, daemon=True).start()
        host = f"--predictor_host=127.0.0.1:{predictor.server_port}"
        server = start("transformer", text_package.folder, tmp_path, host, package=SENTIMENT)
        try:
            server.wait("/readyz")
            headers = {"x-request-timeout": "1.5", "x-request-id": "asked-once"}
            answer = server.client.post("/predict", json={"text": "a good film"}, headers=headers)
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "7"
            assert "the queue is full" in answer.json()["detail"][0]["msg"]
            predictor.shutdown()
            predictor.server_close()
            assert server.client.get("/readyz").status_code == 503
            assert server.client.post("/predict", json={"text": "a good film"}).status_code == 503
        finally:
            server.stop()
    ((sent, body),) = _Full.asked
    assert sent["x-request-id"] == "asked-once"
    assert 0 < float(sent["x-request-timeout"]) <= 1.5
    ids, mask = body["inputs"]
    assert (ids["name"], ids["datatype"], ids["shape"]) == ("input_ids", "INT64", [1, 5])
    assert (mask["name"], mask["data"]) == ("attention_mask", [[1, 1, 1, 1, 1]])
    assert body["outputs"] == [{"name": "logits"}]

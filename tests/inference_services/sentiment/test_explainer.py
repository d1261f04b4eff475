"""The explainer: scores by hand, a page to read, and work that is bounded."""

from __future__ import annotations

import asyncio
import time

import pytest

import inference_services.sentiment.explainer as module
from inference_services.sentiment.explainer import SentimentExplainer
from inference_services.serving.errors import RequestError
from inference_services.serving.options import Options
from tests.inference_services.documented import answers_as_documented
from tests.inference_services.sentiment.test_schemas import BAD
from tests.lexicon_model import WEIGHTS

EXPLAIN = "/v1/models/sentiment:explain"
TEXT = "A great story, and not boring: <b>warm</b>!"


def explained(server, *instances, **headers):
    answer = server.client.post(EXPLAIN, json={"instances": list(instances)}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_every_word_has_the_score_that_the_lexicon_gives_it(text_explainer, text_package):
    first, second = explained(text_explainer, TEXT, {"text": "awful, awful and good"}).json()["explanations"]
    for explanation, text, sign in ((first, TEXT, 1), (second, "awful, awful and good", -1)):
        assert explanation["model_version"] == text_package.version
        for span in explanation["spans"]:
            assert text[span["start"] : span["end"]] == span["text"]
            assert span["score"] == pytest.approx(sign * WEIGHTS.get(span["text"].lower(), 0.0), abs=1e-5)
    assert (first["label"], second["label"]) == ("positive", "negative")
    assert first["log_odds"] == pytest.approx(2.5)


def test_it_answers_as_the_predictor_does(text_explainer, text_predictor):
    predicted = text_predictor.client.post("/predict", json={"text": TEXT}).json()
    (explanation,) = explained(text_explainer, TEXT).json()["explanations"]
    assert {key: explanation[key] for key in predicted} == predicted


def test_as_html_it_is_a_page_that_loads_nothing(text_explainer):
    answer = explained(text_explainer, TEXT, "a bad film", accept="text/html,application/xhtml+xml;q=0.9")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "<b>" not in answer.text
    assert answer.text.count("<article>") == 2
    assert '<mark class="for f5" title="+3.00">great</mark>' in answer.text


def test_texts_up_to_the_limit_that_the_environment_sets_are_explained(text_explainer):
    (explanation,) = explained(text_explainer, "good film " * 400).json()["explanations"]
    assert 16 <= len(explanation["spans"]) <= 128
    answer = text_explainer.client.post(EXPLAIN, json={"instances": ["x" * 4001]})
    assert answer.json()["detail"][0]["msg"] == "must be at most 4000 characters, not 4001"


@pytest.mark.parametrize(
    "value", [value for value, kind in BAD if kind != "string_unicode" and type(value) is not bytes]
)
def test_what_cannot_be_read_is_refused_with_its_place(text_explainer, value):
    if type(value) is str and len(value) > 40:
        value *= 100
    answer = text_explainer.client.post(EXPLAIN, json={"instances": ["fine", value]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "instances", 1]


@pytest.mark.parametrize(
    "body", [{}, [], {"instances": []}, {"instances": ["abc"] * 33}, {"instances": ["abc"], "x": 1}]
)
def test_bodies_without_texts_or_with_too_many_are_refused(text_explainer, body):
    assert text_explainer.client.post(EXPLAIN, json=body).status_code == 422


def test_it_answers_as_documented(text_explainer):
    answers_as_documented(text_explainer)


@pytest.fixture
def slow(text_package, monkeypatch):
    """An explainer whose model takes 200 ms for a few windows, and how often it has run."""
    explainer = SentimentExplainer("sentiment", text_package, Options())
    run, passes = explainer._classifier.logits, []

    def slowly(windows):
        time.sleep(0.2)
        passes.append(len(windows))
        return run(windows)

    monkeypatch.setattr(explainer._classifier, "logits", slowly)
    return explainer, passes


def test_work_that_nobody_waits_for_ends(slow):
    explainer, passes = slow

    async def leave() -> None:
        deadline = asyncio.get_running_loop().time() + 60
        caller = asyncio.ensure_future(explainer.explanations(["good " * 100], deadline))
        await asyncio.sleep(0.5)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await explainer.shut_down()

    asyncio.run(leave())
    assert 1 <= len(passes) < 10


def test_work_ends_at_the_deadline(slow):
    explainer, passes = slow

    async def late() -> None:
        with pytest.raises(TimeoutError):
            await explainer.explanations(["good " * 100], asyncio.get_running_loop().time() + 0.5)

    asyncio.run(late())
    assert 1 <= len(passes) < 10


def test_more_than_can_be_done_soon_is_refused_at_once(slow):
    explainer, _ = slow

    async def crowd() -> list[object]:
        deadline = asyncio.get_running_loop().time() + 60
        asked = [explainer.explanations(["good film"], deadline) for _ in range(2 * module.available_cores() + 3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert len(await explainer.explanations(["good film"], deadline)) == 1
        return answers

    refused = [answer for answer in asyncio.run(crowd()) if isinstance(answer, RequestError)]
    assert [error.status for error in refused] == [429] * 3
    assert refused[0].headers == (("retry-after", "1"),)

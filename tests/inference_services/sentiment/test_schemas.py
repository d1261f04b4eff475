"""What a text is, and what is said of one that is none."""

import argparse
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_services.sentiment.schemas import MAX_TEXTS, Texts, add_text_flags
from inference_services.serving.errors import RequestError
from inference_services.serving.options import Options

TEXTS = Texts(("negative", "positive"), "1", shortest=3, longest=40, max_texts=4)
BAD = [
    (1, "string_type"),
    (None, "string_type"),
    (["abc"], "string_type"),
    (b"abc", "string_type"),
    ("", "string_too_short"),
    ("ab", "string_too_short"),
    ("  ab \n", "string_too_short"),
    ("\u200b\ufeff\u2060\u00a0", "string_too_short"),
    ("x" * 41, "string_too_long"),
    ("a film\x00", "string_control_character"),
    ("\x1b[31mred", "string_control_character"),
    ("half \ud83d", "string_unicode"),
]
GOOD = [
    "abc",
    "\tabc\r\n",
    "a b",
    "😀😀😀",
    "👩‍👩‍👧!!",
    "فيلم",
    "电影好",
    "e\u0301te\u0301",
    "x" * 40,
    "a\x85b",
    "it’s",
]


@pytest.mark.parametrize(("value", "kind"), BAD)
def test_what_cannot_be_read_is_refused_with_its_place_and_reason(value, kind):
    for body, loc in (
        ({"text": value}, ("body", "text")),
        ({"texts": ["fine", value]}, ("body", "texts", 1)),
    ):
        with pytest.raises(RequestError) as caught:
            TEXTS.read_typed(body)
        assert caught.value.status == 422
        assert [(problem.loc, problem.type) for problem in caught.value.problems] == [(loc, kind)]
    for instance, loc in ((value, (1,)), ({"text": value}, (1, "text"))):
        with pytest.raises(RequestError) as caught:
            TEXTS.read_instances({"instances": ["fine", instance]})
        assert caught.value.problems[0].loc == ("body", "instances", *loc)
    with pytest.raises(RequestError) as caught:
        TEXTS.read_tensor(["fine", value])
    assert caught.value.problems[0].loc == ("body", "inputs", "text", 1)


@pytest.mark.parametrize("text", GOOD)
def test_texts_are_taken_as_they_are(text):
    assert TEXTS.read_typed({"text": text}) == ([text], True)
    assert TEXTS.read_typed({"texts": [text]}) == ([text], False)
    assert TEXTS.read_instances({"instances": [text, {"text": text}]}) == [text, text]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"txt": "abc"},
        {"text": "abc", "texts": ["abc"]},
        {"text": "abc", "x": 1},
        {"texts": []},
        {"texts": "abc"},
        {"texts": ["abc"] * 5},
        {"texts": ["abc"], "x" * 500: 1},
    ],
)
def test_bodies_without_texts_are_refused(body):
    with pytest.raises(RequestError) as caught:
        TEXTS.read_typed(body)
    assert len(str(caught.value)) < 300
    if type(body) is dict and "text" not in body:
        with pytest.raises(RequestError):
            TEXTS.read_instances({"instances" if key == "texts" else key: value for key, value in body.items()})


def test_every_bad_text_of_a_request_is_named_up_to_a_limit():
    many = Texts(("a", "b"), "1", shortest=3, longest=40, max_texts=100)
    with pytest.raises(RequestError) as caught:
        many.read_instances({"instances": ["fine", *[""] * 50, {"text": 1}]})
    assert [problem.loc[2] for problem in caught.value.problems] == list(range(1, 21))


alphabet = st.one_of(
    st.sampled_from("ab \n\t\x00\x7f\x85\u200b\u2028\u3000😀"), st.characters(exclude_categories=["Cs"])
)


@given(text=st.text(alphabet, max_size=45), shortest=st.integers(1, 4))
def test_the_published_pattern_says_what_the_server_does(text, shortest):
    texts = Texts(("a", "b"), "1", shortest=shortest, longest=40, max_texts=1)
    schema = texts.schemas()["Text"]
    said = shortest <= len(text) <= 40 and re.fullmatch(schema["pattern"], text) is not None
    try:
        done = texts.read_typed({"text": text}) == ([text], True)
    except RequestError:
        done = False
    assert said == done


@given(shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_the_answer_names_the_most_probable_label(shares):
    answer = TEXTS.prediction(shares)
    assert answer["probability"] == max(shares) == answer["probabilities"][answer["label"]]


def flags(*argv):
    parser = argparse.ArgumentParser()
    add_text_flags(parser.add_argument_group("the model"))
    return vars(parser.parse_args(argv))


def test_the_longest_text_is_the_packages_or_as_a_flag_says(text_package, monkeypatch):
    def limits(options):
        texts = Texts.of(text_package, ("negative", "positive"), options)
        return texts.shortest, texts.longest, texts.max_texts

    assert limits(Options()) == (3, 512, MAX_TEXTS)
    assert limits(Options(model_flags=flags(), max_rows=50)) == (3, 512, 50)
    assert limits(Options(model_flags=flags("--max_characters=20000"))) == (3, 20_000, MAX_TEXTS)
    monkeypatch.setenv("MAX_CHARACTERS", "700")
    assert limits(Options(model_flags=flags())) == (3, 700, MAX_TEXTS)
    for wrong in ("0", "20001", "many", "-5"):
        with pytest.raises(SystemExit):
            flags(f"--max_characters={wrong}")

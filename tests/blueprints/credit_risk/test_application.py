"""Applications: strict fields, and one encoding for training and serving."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blueprints.credit_risk.application import (
    application_model,
    decode_features,
    encode_applications,
    encode_frame,
    nearest_field,
)
from blueprints.schema import Column

COLUMNS = (
    Column(name="limit", kind="number", title="Limit", unit="NTD", minimum=0.1, maximum=1e6, description="The limit."),
    Column(name="months", kind="integer", minimum=-2, maximum=600),
    Column(name="housing", kind="category", categories=("own", "rent", "free")),
    Column(name="used", kind="number", nullable=True),
    Column(name="school", kind="category", categories=("none", "some"), nullable=True),
)
VALID = {"limit": 5.5, "months": 3, "housing": "rent", "used": None, "school": "some"}
Application = application_model(COLUMNS)

applications = st.fixed_dictionaries(
    {
        "limit": st.floats(0.1, 1e6),
        "months": st.integers(-2, 600),
        "housing": st.sampled_from(["own", "rent", "free"]),
        "used": st.none() | st.floats(-1e30, 1e30),
        "school": st.none() | st.sampled_from(["none", "some"]),
    }
)


@given(st.lists(applications, min_size=1, max_size=5))
def test_training_and_serving_encode_alike(rows):
    frame = pd.DataFrame(rows)
    assert np.array_equal(encode_frame(frame, COLUMNS), encode_applications(rows, COLUMNS), equal_nan=True)
    frame["housing"] = frame["housing"].astype("category")
    frame["months"] = frame["months"].astype("Int64")
    assert np.array_equal(encode_frame(frame, COLUMNS), encode_applications(rows, COLUMNS), equal_nan=True)


@given(applications)
def test_encoding_and_decoding_round_trip(row):
    features = encode_applications([row], COLUMNS)
    assert features.dtype == np.float32
    decoded = decode_features(features, COLUMNS)[0]
    assert np.array_equal(encode_applications([decoded], COLUMNS), features, equal_nan=True)
    assert {name: decoded[name] for name in ("months", "housing", "school")} == {
        name: row[name] for name in ("months", "housing", "school")
    }


@given(applications)
def test_every_application_within_the_signature_is_accepted(row):
    assert dict(Application.model_validate(row)) == row


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "5"), ("limit", True), ("limit", math.nan), ("limit", math.inf), ("limit", 0), ("limit", 2e6),
        ("limit", None), ("months", 3.5), ("months", True), ("months", "3"), ("months", 601), ("months", 10**30),
        ("housing", "Own"), ("housing", 1), ("housing", None), ("used", math.nan), ("used", 1e39), ("school", "x"),
        ("unknown", 1),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_and_its_field_named(field: str, value: object):
    with pytest.raises(ValidationError) as caught:
        Application.model_validate({**VALID, field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


@pytest.mark.parametrize("field", ["limit", "months", "housing"])
def test_required_fields_may_not_be_left_out_and_nullable_ones_may(field: str):
    with pytest.raises(ValidationError):
        Application.model_validate({name: value for name, value in VALID.items() if name != field})
    assert Application.model_validate({name: VALID[name] for name in ("limit", "months", "housing")})


def test_the_json_schema_tells_titles_units_bounds_and_categories():
    properties = Application.model_json_schema()["properties"]
    assert properties["limit"] == {
        "title": "Limit",
        "description": "The limit.",
        "unit": "NTD",
        "type": "number",
        "minimum": 0.1,
        "maximum": 1e6,
    }
    assert properties["housing"]["enum"] == ["own", "rent", "free"]


def test_an_unknown_category_or_a_missing_value_in_a_frame_is_named():
    frame = pd.DataFrame([VALID, {**VALID, "housing": "tent"}])
    with pytest.raises(ValueError, match="housing: 'tent' is none of own, rent, free"):
        encode_frame(frame, COLUMNS)
    with pytest.raises(ValueError, match="limit, row 1: the value is missing"):
        encode_frame(pd.DataFrame([VALID, {**VALID, "limit": None}]), COLUMNS)


def test_a_misspelt_field_has_a_nearest_one():
    assert nearest_field("Month", COLUMNS) == "months"
    assert nearest_field("zzzz", COLUMNS) is None

"""Validation: whatever a request holds, the model sees only finite numbers within the signature's bounds."""
# ruff: noqa: PT017 - a refusal and a matrix are both right, and each is checked

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from blueprints.schema import Column
from inference_services.serving.columns import FeatureColumns, tensor_spec
from inference_services.serving.errors import RequestError
from inference_services.serving.grpc_tensors import from_grpc
from inference_services.serving.tensors import TensorReader

COLUMNS = (
    Column(name="x", kind="number", minimum=-1, maximum=0.1),
    Column(name="free", kind="number"),
    Column(name="n", kind="integer", minimum=0, maximum=9),
    Column(name="c", kind="category", categories=("a", "b", "c")),
    Column(name="maybe", kind="integer", minimum=0, maximum=5, nullable=True),
)
SPECS = [tensor_spec(column) for column in COLUMNS]
FEATURES = FeatureColumns(COLUMNS)
READER = TensorReader(SPECS, [], max_rows=100)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
near = st.sampled_from([-1, -1.0000001, 0.1, 0.10000001, 0, 9, 9.5, 10, 2, 3, -0.0, 1e39, -1e39, 3.4e38, 5])
anything = st.recursive(
    scalars | near, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


def loc(name: str, row: int) -> tuple[str | int, ...]:
    return ("body", "inputs", name, row)


def assert_safe(matrix: np.ndarray) -> None:
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    for column, values in zip(COLUMNS, matrix.T, strict=True):
        present = values[~np.isnan(values)] if column.nullable else values
        assert np.isfinite(present).all()
        if column.minimum is not None:
            assert (present >= np.float32(column.minimum)).all()
            assert (present <= np.float32(column.maximum)).all()
        if column.kind == "category":
            assert set(present.tolist()) <= {0, 1, 2}
        if column.kind != "number":
            assert (present == np.floor(present)).all()


@given(st.fixed_dictionaries({column.name: st.lists(scalars | near, min_size=2, max_size=2) for column in COLUMNS}))
def test_json_values_reach_the_model_within_bounds_or_not_at_all(values):
    try:
        matrix = FEATURES.matrix(values, loc)
    except RequestError as error:
        assert error.status == 422
        assert all(problem.loc[2] in FEATURES.names for problem in error.problems)
    else:
        assert_safe(matrix)


@given(
    st.fixed_dictionaries(
        {column.name: st.lists(st.floats(width=32) | near, min_size=3, max_size=3) for column in COLUMNS}
    ),
    st.sampled_from([np.float32, np.float64]),
)
def test_arrays_reach_the_model_within_bounds_or_not_at_all(values, dtype):
    with np.errstate(over="ignore"):
        arrays = {name: np.array(numbers).astype(dtype) for name, numbers in values.items()}
    try:
        matrix = FEATURES.matrix(arrays, loc)
    except RequestError as error:
        assert error.status == 422
    else:
        assert_safe(matrix)


valid = st.fixed_dictionaries(
    {
        "x": st.floats(-1, 0.1),
        "free": st.floats(-1e38, 1e38),
        "n": st.integers(0, 9),
        "c": st.integers(0, 2),
        "maybe": st.none() | st.integers(0, 5),
    }
)


@given(st.lists(valid, min_size=1, max_size=6))
def test_every_valid_batch_is_accepted_and_keeps_its_values(rows):
    matrix = FEATURES.matrix({name: [row[name] for row in rows] for name in FEATURES.names}, loc)
    expected = [[math.nan if row[name] is None else row[name] for name in FEATURES.names] for row in rows]
    np.testing.assert_array_equal(matrix, np.array(expected, np.float32))


@given(
    anything
    | st.fixed_dictionaries({"inputs": st.lists(anything, max_size=6)})
    | st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.sampled_from(FEATURES.names) | anything,
                        "shape": st.lists(st.integers(-1, 3) | anything, max_size=3) | anything,
                        "datatype": st.sampled_from(["FP32", "FP64", "INT32", "BYTES"]) | anything,
                        "data": st.lists(scalars, max_size=3) | anything,
                    },
                    optional={"parameters": anything},
                ),
                max_size=6,
            )
        },
        optional={"outputs": anything, "id": anything, "extra": anything},
    )
)
def test_no_json_body_breaks_the_reader(body):
    try:
        body = orjson.loads(orjson.dumps(body))
    except (TypeError, orjson.JSONEncodeError):
        return
    assert_read_or_refused(lambda: READER.from_json(body, "r"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*FEATURES.names, "other"]),
            st.lists(st.integers(-2, 4), max_size=3),
            st.sampled_from(["FP32", "FP64", "INT32", "INT64", "BYTES", "", "FP16"]),
            st.binary(max_size=16),
            st.lists(st.floats(width=32), max_size=3),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_no_grpc_request_breaks_the_reader(tensors, raw):
    request = pb.ModelInferRequest()
    for name, shape, datatype, content, numbers in tensors:
        tensor = request.inputs.add(name=name, shape=shape, datatype=datatype)
        if raw:
            request.raw_input_contents.append(content)
        else:
            tensor.contents.fp32_contents.extend(numbers)
    assert_read_or_refused(lambda: from_grpc(READER, request, "r"))


def assert_read_or_refused(read: Any) -> None:
    try:
        call = read()
    except RequestError as error:
        assert error.status == 422
        assert all(problem.msg and problem.type and problem.loc[0] == "body" for problem in error.problems)
    else:
        assert 1 <= call.rows <= 100
        try:
            assert_safe(FEATURES.matrix(call.inputs, loc))
        except RequestError as error:
            assert error.status == 422


def test_at_most_twenty_problems_are_told():
    bad = {name: [99] * 50 for name in FEATURES.names}
    with pytest.raises(RequestError) as caught:
        FEATURES.matrix(bad, loc)
    assert len(caught.value.problems) == 20

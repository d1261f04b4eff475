"""Open Inference Protocol v2: tensors in and out, checked against what a model declares, and their form in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference_services.serving.errors import Location, refuse

Values = Sequence[Any] | NDArray[Any]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_BODY_KEYS = frozenset({"id", "parameters", "inputs", "outputs"})
_TENSOR_KEYS = frozenset({"name", "shape", "datatype", "data", "parameters"})
_OUTPUT_KEYS = frozenset({"name", "parameters"})


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that a model takes or gives.

    Attributes:
        name: Name.
        datatype: Datatype as published in the metadata.
        shape: Dimensions, the first being the batch; -1 is any size.
        also: Wider datatypes that are accepted too.
        required: Whether a request must hold it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)
    also: tuple[str, ...] = ()
    required: bool = True

    def metadata(self) -> dict[str, Any]:
        """As published in the model's v2 metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class InferCall:
    """A checked v2 request.

    Attributes:
        id: The caller's id for it; may be empty.
        rows: Size of the batch, 1 or more.
        inputs: Flat values by tensor name: lists from JSON, arrays from gRPC.
        outputs: Names of the outputs asked for; empty for the model's default.
        request_id: Id of the request in logs and records.
        raw: Whether a gRPC caller sent, and so gets, raw contents.
        deadline: When nobody waits for the answer any more, in the event loop's time (`loop.time()`).
    """

    id: str
    rows: int
    inputs: Mapping[str, Values]
    outputs: tuple[str, ...]
    request_id: str
    raw: bool = False
    deadline: float = math.inf


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer: its specification and its values, batch first."""

    spec: TensorSpec
    values: NDArray[Any] | Sequence[str]

    @property
    def shape(self) -> list[int]:
        """Its dimensions."""
        return list(self.values.shape) if isinstance(self.values, np.ndarray) else [len(self.values)]


class TensorReader:
    """Checks v2 requests against what a model declares.

    Args:
        inputs: Tensors that the model takes.
        outputs: Tensors that it can give.
        max_rows: Largest batch.
    """

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, max_rows: int) -> None:
        self._inputs = {spec.name: spec for spec in inputs}
        self._required = [spec.name for spec in inputs if spec.required]
        self._accepted = {spec.name: frozenset((spec.datatype, *spec.also)) for spec in inputs}
        self._outputs = frozenset(spec.name for spec in outputs)
        self._max_rows = max_rows

    def from_json(self, body: Any, request_id: str, deadline: float = math.inf) -> InferCall:
        """Reads the body of a REST request.

        Raises:
            RequestError: It is no valid request for this model.
        """
        if type(body) is not dict:
            raise refuse(("body",), "must be an object with 'inputs'", "dict_type")
        if not body.keys() <= _BODY_KEYS:
            raise _unknown_key(("body",), body, _BODY_KEYS)
        id_ = body.get("id", "")
        if type(id_) is not str or len(id_) > 128:
            raise refuse(("body", "id"), "must be a string of at most 128 characters", "string_type")
        _check_parameters(("body",), body)
        tensors = body.get("inputs")
        if type(tensors) is not list:
            raise refuse(("body", "inputs"), "must be an array of tensors", "list_type" if tensors else "missing")
        rows, inputs = self.collect(_json_tensors(tensors))
        asked = body.get("outputs")
        names = () if asked is None else self.asked(_json_outputs(asked))
        return InferCall(id_, rows, inputs, names, request_id, deadline=deadline)

    def collect(self, tensors: Iterable[tuple[int, str, str, Sequence[int], Values]]) -> tuple[int, dict[str, Values]]:
        """The size of the batch and the flat values by name.

        Args:
            tensors: Position, name, datatype, shape and flat values of each.

        Raises:
            RequestError: They are not the tensors that the model takes.
        """
        rows, first = -1, ""
        inputs: dict[str, Values] = {}
        for index, name, datatype, shape, values in tensors:
            spec = self._inputs.get(name)
            if spec is None:
                known = ", ".join(self._inputs)
                raise refuse(("body", "inputs", index, "name"), f"no input is named {name[:80]!r}: {known}", "enum")
            if name in inputs:
                raise refuse(("body", "inputs", name), "is given twice", "duplicate")
            if datatype not in self._accepted[name]:
                raise refuse(("body", "inputs", name, "datatype"), _wrong_datatype(spec, datatype), "enum")
            if not _fits(spec.shape, shape):
                wanted = [("n" if size < 0 else size) for size in spec.shape]
                raise refuse(
                    ("body", "inputs", name, "shape"),
                    f"must be {wanted}, not {list(shape)}".replace("'", ""),
                    "shape_mismatch",
                )
            if math.prod(shape) != len(values):
                raise refuse(
                    ("body", "inputs", name, "data"),
                    f"holds {len(values)} values of {datatype}, but shape {list(shape)} needs {math.prod(shape)}",
                    "length_mismatch",
                )
            if rows < 0:
                rows, first = shape[0], name
                self._check_rows(rows, ("body", "inputs", name, "shape"))
            elif shape[0] != rows:
                raise refuse(
                    ("body", "inputs", name, "shape"),
                    f"holds {shape[0]} rows, but {first!r} holds {rows}",
                    "length_mismatch",
                )
            inputs[name] = values
        if len(inputs) < len(self._inputs):
            missing = [name for name in self._required if name not in inputs]
            if missing:
                raise refuse(("body", "inputs", missing[0]), f"missing tensors: {', '.join(missing)}", "missing")
        return rows, inputs

    def _check_rows(self, rows: int, loc: Location) -> None:
        if rows < 1:
            raise refuse(loc, "the batch is empty: send at least one row", "too_short")
        if rows > self._max_rows:
            raise refuse(loc, f"at most {self._max_rows} rows in one request, not {rows}", "too_long")

    def asked(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of outputs that a request asks for, each once.

        Raises:
            RequestError: The model has no such output.
        """
        for index, name in enumerate(names):
            if name not in self._outputs:
                known = ", ".join(sorted(self._outputs))
                raise refuse(("body", "outputs", index, "name"), f"no output is named {name[:80]!r}: {known}", "enum")
        return tuple(dict.fromkeys(names))


def to_json(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    """The `outputs` of a REST answer."""
    return [
        {
            "name": output.spec.name,
            "datatype": output.spec.datatype,
            "shape": output.shape,
            "data": output.values.ravel() if isinstance(output.values, np.ndarray) else output.values,
        }
        for output in outputs
    ]


def _json_tensors(tensors: list[Any]) -> Iterator[tuple[int, str, str, Sequence[int], Values]]:
    for index, tensor in enumerate(tensors):
        loc: Location = ("body", "inputs", index)
        if type(tensor) is not dict:
            raise refuse(loc, "must be an object with 'name', 'shape', 'datatype' and 'data'", "dict_type")
        if not tensor.keys() <= _TENSOR_KEYS:
            raise _unknown_key(loc, tensor, _TENSOR_KEYS)
        if len(tensor) > 4:
            _check_parameters(loc, tensor)
        try:
            name, shape, datatype, data = tensor["name"], tensor["shape"], tensor["datatype"], tensor["data"]
        except KeyError as error:
            raise refuse((*loc, error.args[0]), "is missing", "missing") from None
        if type(name) is not str:
            raise refuse((*loc, "name"), "must be a string", "string_type")
        if type(datatype) is not str:
            raise refuse((*loc, "datatype"), "must be a string", "string_type")
        if type(shape) is not list or any(type(size) is not int or size < 0 for size in shape):
            raise refuse((*loc, "shape"), "must be an array of whole numbers, 0 or more", "list_type")
        if type(data) is not list:
            raise refuse((*loc, "data"), "must be an array", "list_type")
        yield index, name, datatype, shape, _flat(data, len(shape))


def _flat(data: list[Any], rank: int) -> list[Any]:
    """Values of an array that is nested as its shape says, or flat already."""
    while rank > 1 and data and all(type(part) is list for part in data):
        data = list(chain.from_iterable(data))
        rank -= 1
    return data


def _json_outputs(asked: Any) -> list[str]:
    if type(asked) is not list:
        raise refuse(("body", "outputs"), "must be an array of objects with 'name'", "list_type")
    for index, output in enumerate(asked):
        loc: Location = ("body", "outputs", index)
        if type(output) is not dict or type(output.get("name")) is not str:
            raise refuse(loc, "must be an object with 'name'", "dict_type")
        if not output.keys() <= _OUTPUT_KEYS:
            raise _unknown_key(loc, output, _OUTPUT_KEYS)
        _check_parameters(loc, output)
    return [output["name"] for output in asked]


def _fits(wanted: tuple[int, ...], shape: Sequence[int]) -> bool:
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(wanted) and all(w in (-1, size) for w, size in zip(wanted, shape, strict=True))


def _wrong_datatype(spec: TensorSpec, datatype: str) -> str:
    return f"must be {' or '.join((spec.datatype, *spec.also))}, not {datatype[:40]!r}"


def _unknown_key(loc: Location, value: Mapping[str, Any], known: frozenset[str]) -> Exception:
    key = next(key for key in value if key not in known)
    return refuse((*loc, key[:80]), f"unknown field; known are {', '.join(sorted(known))}", "extra_forbidden")


def _check_parameters(loc: Location, value: Mapping[str, Any]) -> None:
    parameters = value.get("parameters")
    if parameters is None:
        return
    if type(parameters) is not dict:
        raise refuse((*loc, "parameters"), "must be an object", "dict_type")
    if parameters.get("binary_data") or parameters.get("binary_data_output") or "binary_data_size" in parameters:
        raise refuse(
            (*loc, "parameters"), "binary data goes over gRPC (raw_input_contents); send JSON here", "unsupported"
        )

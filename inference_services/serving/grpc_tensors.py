"""Open Inference Protocol v2 over gRPC: tensors from and to protocol buffers."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from inference_services.serving.errors import refuse
from inference_services.serving.tensors import DTYPES, InferCall, Output, TensorReader, Values

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def from_grpc(
    reader: TensorReader, request: pb.ModelInferRequest, request_id: str, deadline: float = math.inf
) -> InferCall:
    """Reads a gRPC request.

    Args:
        reader: Checks it.
        request: The request.
        request_id: Its id in logs and records.
        deadline: When nobody waits for the answer any more, in the event loop's time.

    Raises:
        RequestError: It is no valid request for this model.
    """
    raw = len(request.raw_input_contents) > 0
    if raw and len(request.raw_input_contents) != len(request.inputs):
        raise refuse(
            ("body", "raw_input_contents"),
            f"holds {len(request.raw_input_contents)} tensors for {len(request.inputs)} inputs",
            "length_mismatch",
        )
    rows, inputs = reader.collect(_tensors(request))
    asked = reader.asked([output.name for output in request.outputs])
    return InferCall(request.id, rows, inputs, asked, request_id, raw, deadline)


def to_grpc(response: pb.ModelInferResponse, outputs: Sequence[Output], *, raw: bool) -> None:
    """Adds tensors to a gRPC answer."""
    for output in outputs:
        tensor = response.outputs.add(name=output.spec.name, datatype=output.spec.datatype, shape=output.shape)
        if isinstance(output.values, np.ndarray):
            values = np.ascontiguousarray(output.values, DTYPES[output.spec.datatype])
            if raw:
                response.raw_output_contents.append(values.tobytes())
            else:
                getattr(tensor.contents, _CONTENTS[output.spec.datatype]).extend(values.ravel())
        else:
            encoded = [value.encode() for value in output.values]
            if raw:
                response.raw_output_contents.append(b"".join(struct.pack("<I", len(v)) + v for v in encoded))
            else:
                tensor.contents.bytes_contents.extend(encoded)


def _tensors(request: pb.ModelInferRequest) -> Iterator[tuple[int, str, str, Sequence[int], Values]]:
    raw = request.raw_input_contents
    for index, tensor in enumerate(request.inputs):
        shape = list(tensor.shape)
        if any(size < 0 for size in shape):
            raise refuse(("body", "inputs", tensor.name, "shape"), "must be whole numbers, 0 or more", "shape_mismatch")
        if raw:
            if tensor.HasField("contents"):
                raise refuse(
                    ("body", "inputs", tensor.name), "give 'contents' or 'raw_input_contents', not both", "duplicate"
                )
            values = _from_raw(tensor.name, tensor.datatype, raw[index])
        else:
            contents = tensor.contents
            values = getattr(contents, _CONTENTS[tensor.datatype]) if tensor.datatype in _CONTENTS else ()
            if tensor.datatype == "BYTES":
                values = _texts(tensor.name, values)
        yield index, tensor.name, tensor.datatype, shape, values


def _from_raw(name: str, datatype: str, content: bytes) -> Values:
    if datatype == "BYTES":
        values, start = [], 0
        while start < len(content):
            end = start + 4 + int.from_bytes(content[start : start + 4], "little")
            if start + 4 > len(content) or end > len(content):
                raise refuse(("body", "inputs", name), "raw contents end inside a value", "length_mismatch")
            values.append(content[start + 4 : end])
            start = end
        return _texts(name, values)
    dtype = DTYPES.get(datatype)
    if dtype is None:
        return ()
    if len(content) % dtype.itemsize:
        raise refuse(("body", "inputs", name), f"raw contents are no whole number of {datatype}", "length_mismatch")
    return np.frombuffer(content, dtype)


def _texts(name: str, values: Sequence[bytes]) -> list[str]:
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise refuse(("body", "inputs", name), "must be UTF-8 text", "string_unicode") from error

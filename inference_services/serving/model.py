"""What a server serves: a model with named, typed tensors and REST operations of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import orjson

from inference_services.serving.errors import refuse
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.tensors import InferCall, Output, TensorSpec


@dataclass(frozen=True, slots=True)
class Call:
    """One REST request, read within its limits.

    Attributes:
        body: The whole body.
        request_id: Its id in logs, records and the answer.
        accept: The `Accept` header, lower case.
        deadline: When nobody waits for the answer any more, in the event loop's time (`loop.time()`).
    """

    body: bytes
    request_id: str
    accept: str = ""
    deadline: float = inf

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            RequestError: It is no JSON, too deeply nested, or holds NaN or infinity.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise refuse(("body", error.pos), f"is no valid JSON: {error.msg}", "json_invalid") from None


@dataclass(frozen=True, slots=True)
class Reply:
    """One REST answer."""

    body: bytes
    status: int = 200
    media_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


def json_reply(content: Any) -> Reply:
    """An answer of JSON; NumPy arrays are written as they are."""
    return Reply(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


@dataclass(frozen=True)
class Operation:
    """A REST operation and its description in OpenAPI.

    Attributes:
        method: GET or POST.
        path: The whole path.
        handler: Answers it.
        summary: What it does, one line.
        tag: Group in the documentation.
        response: JSON Schema of the answer.
        request: JSON Schema of the body of a POST.
        example: An example body.
        responses: Other answers: status to description.
        media_types: Further media types of the answer.
        work: Whether it counts against the limit on concurrent requests and is logged.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Reply]]
    summary: str
    tag: str
    response: Mapping[str, Any]
    request: Mapping[str, Any] | None = None
    example: Any = None
    responses: Mapping[int, str] = field(default_factory=dict)
    media_types: tuple[str, ...] = ()
    work: bool = True


class ServedModel(ABC):
    """A model, transformer or explainer behind a server.

    Args:
        name: Name to answer under.

    Attributes:
        name: Name to answer under.
        role: `predictor`, `transformer` or `explainer`.
        version: Version of the model package.
        platform: What runs it, as published in the v2 metadata.
        inputs: Tensors of v2 requests; empty where v2 inference is not offered.
        outputs: Tensors that it can give.
        schemas: JSON Schemas that operations refer to as `#/components/schemas/<name>`.
        infer_responses: Answers of v2 inference beside the usual ones: status to description.
        predictions: Counts what it answers, where that is a bounded figure or a category.
    """

    role: str
    version: str
    platform: str
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    schemas: Mapping[str, Any] = {}
    infer_responses: Mapping[int, str] = {}
    predictions: PredictionHistogram | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def operations(self) -> Sequence[Operation]:
        """REST operations beside v2, health and metrics."""

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request.

        Raises:
            RequestError: The content does not fit.
        """
        raise NotImplementedError

    async def healthy(self) -> bool:
        """Whether it can answer. Asked by readiness probes."""
        return True

    async def start_up(self) -> None:  # noqa: B027  # many need none
        """Opens what needs the event loop, and warms up. Called once, before the first request."""

    async def shut_down(self) -> None:  # noqa: B027  # many need none
        """Closes it. Called once, after the last request."""

"""Why a request was refused: one shape for REST and gRPC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil

import orjson
from pydantic import ValidationError

Location = tuple[str | int, ...]
MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request.

    Attributes:
        loc: Where, as a path: `("body", "instances", 0, "age")`.
        msg: What is wrong and what would be right.
        type: A word for machines: `missing`, `greater_than_equal`.
    """

    loc: Location
    msg: str
    type: str

    def __str__(self) -> str:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.loc[1:]).lstrip(".")
        return f"{path}: {self.msg}" if path else self.msg


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        problems: What is wrong; the first 20 are told.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, problems: Sequence[Problem], headers: Sequence[tuple[str, str]] = ()) -> None:
        self.status = HTTPStatus(status)
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.headers = tuple(headers)
        super().__init__("; ".join(map(str, self.problems)))

    def json(self) -> bytes:
        """The body of the answer: `{"detail": [{"loc": …, "msg": …, "type": …}]}`."""
        return orjson.dumps({"detail": [{"loc": p.loc, "msg": p.msg, "type": p.type} for p in self.problems]})


def refuse(loc: Location, msg: str, type_: str, *, status: int = 422) -> RequestError:
    """A refusal for one reason."""
    return RequestError(status, [Problem(loc, msg, type_)])


def overloaded(msg: str, retry_after: float = 1) -> RequestError:
    """A refusal because the server has as much to do as it can: HTTP 429, gRPC RESOURCE_EXHAUSTED.

    Args:
        msg: What is full.
        retry_after: Seconds after which to come back; told in whole seconds, at least one.
    """
    return RequestError(
        429, [Problem(("server",), msg, "overloaded")], [("retry-after", f"{max(1, ceil(retry_after))}")]
    )


def unavailable(msg: str) -> RequestError:
    """A refusal because the server, or what it depends on, cannot work now: HTTP 503, gRPC UNAVAILABLE."""
    return RequestError(503, [Problem(("server",), msg, "unavailable")], [("retry-after", "1")])


def too_late(seconds: float) -> RequestError:
    """There was no answer before the request's deadline: HTTP 504, gRPC DEADLINE_EXCEEDED.

    Args:
        seconds: What the request was given.
    """
    return refuse(("server",), f"there was no answer within {seconds:g} seconds", "timeout", status=504)


def from_pydantic(error: ValidationError, loc: Location, nearest: Callable[[str], str | None]) -> RequestError:
    """A refusal from a Pydantic error.

    Args:
        error: The error.
        loc: Where the validated value stands in the request.
        nearest: The field that an unknown name most likely means.
    """
    problems = []
    for found in error.errors(include_url=False, include_input=False, include_context=False):
        message = found["msg"]
        if found["type"] == "extra_forbidden":
            meant = nearest(str(found["loc"][-1]))
            message = f"unknown field; did you mean {meant!r}?" if meant else "unknown field"
        where = tuple(part[:80] if isinstance(part, str) else part for part in found["loc"])
        problems.append(Problem((*loc, *where), message, found["type"]))
    return RequestError(422, problems)

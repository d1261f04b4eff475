"""What JSON can say, within bounds that every part of the server can handle."""

from __future__ import annotations

import math
from typing import Any

from localcluster.api.errors import bad_request

# Objects of Kubernetes are far from this; the encoder's limit is not much beyond it.
_DEEPEST = 100
_INTEGERS = range(-(1 << 63), 1 << 64)


def plain(value: Any, depth: int = 0) -> Any:
    """The value, if it can be written as JSON again.

    Raises:
        ApiError: 400 if it is nested too deeply, or holds what JSON does not know.
    """
    if depth > _DEEPEST:
        raise bad_request(f"the body of the request is nested more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise bad_request(f"the key {key!r} in the body of the request must be a string")
            plain(entry, depth + 1)
    elif isinstance(value, list):
        for entry in value:
            plain(entry, depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise bad_request("numbers in the body of the request must be finite")
    elif isinstance(value, int):
        if value not in _INTEGERS:
            raise bad_request(f"the number {str(value)[:40]} in the body of the request is too large")
    elif value is not None and not isinstance(value, str):
        raise bad_request(f"the body of the request holds a {type(value).__name__}, which JSON does not know")
    return value

"""How long a request may take: what the server allows, or less if its caller says so."""

from __future__ import annotations

import re

from inference_services.serving.errors import refuse

HEADER = "x-request-timeout"
_SECONDS = re.compile(rb"(\d{1,6}(\.\d{0,9})?|\.\d{1,9})")


def allowed_seconds(given: bytes | None, limit: float) -> float:
    """Seconds that a request may take.

    Args:
        given: The value of its `x-request-timeout` header, if it has one: seconds as a decimal number.
        limit: What the server allows.

    Raises:
        RequestError: The header is no number of seconds above 0.
    """
    if given is None:
        return limit
    seconds = float(given) if _SECONDS.fullmatch(given) else 0.0
    if seconds <= 0:
        raise refuse(("header", HEADER), "must be seconds above 0 as a decimal number, such as 0.25", "decimal_type")
    return min(seconds, limit)

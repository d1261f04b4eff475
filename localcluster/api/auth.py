"""Who may speak to the server: whoever has the token, from this machine, and no web page."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from localcluster.api.errors import ApiError

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
"""What answers without a token."""


class Guard:
    """Refuses requests.

    Args:
        token: What every request must bear.
    """

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("a server needs a token: an empty one would let everybody in")
        self._expected = f"Bearer {token}".encode()

    def check(self, *, path: str, host: str, origin: str | None, authorization: str) -> None:
        """Lets a request pass or not.

        Args:
            path: Its path.
            host: Its `Host`: a web page that made its own name point here shows itself by it.
            origin: Its `Origin`, which only browsers send.
            authorization: Its `Authorization`.

        Raises:
            ApiError: 403 for a browser's request on behalf of a web page; 401 without the token.
        """
        if not _is_loopback(f"//{host}"):
            raise _forbidden(f"the Host header must name this machine, not {host[:100]!a}")
        if origin is not None and not _is_loopback(origin):
            raise _forbidden(f"requests of web pages are refused (Origin: {origin[:100]!a})")
        if path in OPEN_PATHS:
            return
        if not hmac.compare_digest(authorization.encode(errors="replace"), self._expected):
            raise ApiError(401, "Unauthorized", "Unauthorized")


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "Forbidden", message)

"""`/openapi.json`, and `/docs`: the same as a page to read and to try, all of it from this server."""

from __future__ import annotations

from pathlib import Path

from inference_services.serving.model import Call, Operation, Reply

_PAGE = Path(__file__).with_name("docs_page")
_FILES = {
    "/docs": ("docs.html", b"text/html; charset=utf-8"),
    "/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
    "/docs.css": ("docs.css", b"text/css; charset=utf-8"),
}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def documentation(document: bytes) -> list[Operation]:
    """The operations that show an OpenAPI document; they are no part of it.

    Args:
        document: As JSON.
    """
    operations = [_operation("/openapi.json", Reply(document))]
    for path, (name, media_type) in _FILES.items():
        headers = ((b"content-security-policy", _POLICY),)
        reply = Reply((_PAGE / name).read_bytes(), media_type=media_type, headers=headers)
        operations.append(_operation(path, reply))
    return operations


def _operation(path: str, reply: Reply) -> Operation:
    async def answer(_: Call) -> Reply:
        return reply

    return Operation("GET", path, answer, "", "", {}, work=False)

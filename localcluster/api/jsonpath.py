"""The part of kubectl's JSONPath that printer columns use: names, `[*]`, `['name']` and `[?(@.name=="value")]`."""

from __future__ import annotations

import json
import re
from typing import Any

_STEP = re.compile(
    r"""
      \.(?P<name>(?:[^.\[\\]|\\.)+)
    | \[\*\](?P<all>)
    | \[(?P<index>\d+)\]
    | \['(?P<quoted>[^']+)'\]
    | \[\?\(@\.(?P<key>[\w.]+)\s*==\s*(?P<value>'[^']*'|"[^"]*"|\w+)\)\]
    """,
    re.VERBOSE,
)


def find(item: Any, path: str) -> list[Any]:
    """All values that a path leads to.

    Raises:
        ValueError: The path is none of this kind.
    """
    found = [item]
    position = 0
    while position < len(path):
        if (step := _STEP.match(path, position)) is None:
            raise ValueError(f"JSONPath {path!r}: cannot be read from {path[position:]!r} on")
        found = [value for each in found for value in _next(each, step)]
        position = step.end()
    return found


def _next(value: Any, step: re.Match[str]) -> list[Any]:
    if step["all"] is not None:
        return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if step["index"] is not None:
        return value[int(step["index"]) :][:1] if isinstance(value, list) else []
    if step["key"] is not None:
        wanted = _literal(step["value"])
        return [each for each in value if find(each, f".{step['key']}") == [wanted]] if isinstance(value, list) else []
    name = step["quoted"] or step["name"].replace("\\", "")
    return [value[name]] if isinstance(value, dict) and value.get(name) is not None else []


def _literal(text: str) -> Any:
    return text[1:-1] if text[0] in "'\"" else json.loads(text)

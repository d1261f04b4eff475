"""Structural schemas, as CustomResourceDefinitions have them, and what an API server does with an object by one.

In this order: fields that are unknown are found and dropped (`decode`), fields that are missing get their defaults
(`fill`), and what is left is checked (`errors`), with an API server's messages. Schemas are OpenAPI v3 dictionaries
that, beyond what CRDs may say, refer to definitions by name (`$ref`) and carry `rules`: functions in place of CEL.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from localcluster.api.errors import Cause
from localcluster.render import Object

Schema = dict[str, Any]

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_RANGES = {"int32": 2**31, "int64": 2**63}
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Rule:
    """A rule that joins several fields: what is CEL in a CRD.

    Attributes:
        holds: Whether a value, which is well-formed and has its defaults, keeps the rule.
        message: What is said if not.
    """

    holds: Callable[[Any], bool]
    message: str


@dataclass(frozen=True)
class Structure:
    """The schema of a kind.

    Attributes:
        root: Schema of the whole object.
        definitions: What its `$ref`s name, by the last part of their path.
        keyed: Whether a list with keys holds each key once. It does in a custom kind; a core kind has rules of its own.
    """

    root: Schema
    definitions: Mapping[str, Schema]
    keyed: bool = True

    def decode(self, item: Object) -> tuple[Object, list[str]]:
        """A copy without unknown fields and nulls, and the paths of the unknown fields."""
        unknown: list[str] = []
        return self._decode(self.root, item, "", unknown), unknown

    def fill(self, item: Object) -> None:
        """Sets the defaults of fields that are missing, in place."""
        self._fill(self.root, item)

    def type_errors(self, item: Object) -> list[Cause]:
        """Values of a wrong type; they stand in the way of defaults."""
        return [cause for cause in self._errors(self.root, item, "") if cause.reason == "FieldValueTypeInvalid"]

    def errors(self, item: Object) -> list[Cause]:
        """All ways in which an object breaks its schema; rules count for what is well-formed."""
        return list(self._errors(self.root, item, "")) or list(self._broken_rules(self.root, item, ""))

    def _resolve(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].rpartition("/")[2]]
        return schema

    def _decode(self, schema: Schema, value: Any, path: str, unknown: list[str]) -> Any:
        schema = self._resolve(schema)
        if _wrong_type(schema, value) is not None:
            return copy.deepcopy(value)
        if isinstance(value, list):
            items = schema.get("items", {})
            return [self._decode(items, part, f"{path}[{index}]", unknown) for index, part in enumerate(value)]
        if not isinstance(value, dict):
            return value
        kept: Object = {}
        is_open = _is_open(schema)
        for name, part in value.items():
            below = f"{path}.{name}" if path else str(name)
            inner = _child(schema, name)
            if part is None and not (inner or {}).get("nullable"):
                continue
            if inner is not None:
                kept[name] = self._decode(inner, part, below, unknown)
            elif is_open:
                kept[name] = copy.deepcopy(part)
            else:
                unknown.append(below)
        return kept

    def _fill(self, schema: Schema, value: Any) -> None:
        schema = self._resolve(schema)
        if isinstance(value, dict):
            for name, inner in schema.get("properties", {}).items():
                if name not in value and (default := self._default(inner)) is not None:
                    value[name] = copy.deepcopy(default)
            for name, part in value.items():
                if (inner := _child(schema, name)) is not None:
                    self._fill(inner, part)
        elif isinstance(value, list) and "items" in schema:
            for part in value:
                self._fill(schema["items"], part)

    def _default(self, schema: Schema) -> Any:
        return schema["default"] if "default" in schema else self._resolve(schema).get("default")

    def _errors(self, schema: Schema, value: Any, path: str) -> Iterator[Cause]:
        schema = self._resolve(schema)
        if value is None and schema.get("nullable"):
            return
        if (wrong := _wrong_type(schema, value)) is not None:
            yield Cause(
                "FieldValueTypeInvalid",
                f'Invalid value: "{_type_name(value)}": {path} in body must be of type {wrong}: "{_type_name(value)}"',
                path,
            )
            return
        yield from _scalar_errors(schema, value, path)
        if isinstance(value, dict):
            yield from _object_errors(schema, value, path)
            for name, part in value.items():
                if (inner := _child(schema, name)) is not None:
                    yield from self._errors(inner, part, f"{path}.{name}" if path else str(name))
        elif isinstance(value, list):
            yield from _array_errors(schema, value, path)
            if self.keyed:
                yield from _repeated(schema, value, path)
            for index, part in enumerate(value):
                yield from self._errors(schema.get("items", {}), part, f"{path}[{index}]")

    def _broken_rules(self, schema: Schema, value: Any, path: str) -> Iterator[Cause]:
        schema = self._resolve(schema)
        for rule in schema.get("rules", ()):
            if not rule.holds(value):
                shown = _shown(value) if isinstance(value, str | int) else f'"{_type_name(value)}"'
                yield Cause("FieldValueInvalid", f"Invalid value: {shown}: {rule.message}", path)
        if isinstance(value, dict):
            for name, part in value.items():
                if (inner := _child(schema, name)) is not None:
                    yield from self._broken_rules(inner, part, f"{path}.{name}" if path else str(name))
        elif isinstance(value, list) and "items" in schema:
            for index, part in enumerate(value):
                yield from self._broken_rules(schema["items"], part, f"{path}[{index}]")


def _child(schema: Schema, name: str) -> Schema | None:
    found = schema.get("properties", {}).get(name)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else None


def _is_open(schema: Schema) -> bool:
    return not schema or bool(
        schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    )


def _wrong_type(schema: Schema, value: Any) -> str | None:
    """The type that a value should have, None if it has it."""
    if schema.get("x-kubernetes-int-or-string"):
        return None if _TYPES["integer"](value) or isinstance(value, str) else "integer,string"
    wanted = schema.get("type")
    if wanted is None:
        return None
    names = [wanted] if isinstance(wanted, str) else [name for name in wanted if name != "null"]
    return None if any(_TYPES[name](value) for name in names) else ",".join(names)


def _scalar_errors(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(json.dumps(option) for option in schema["enum"])
        message = f"Unsupported value: {_shown(value)}: supported values: {known}"
        yield Cause("FieldValueNotSupported", message, path)
        return
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield _invalid(value, path, f"should be at least {schema['minLength']} chars long")
        if "maxLength" in schema and len(value) > schema["maxLength"]:
            message = f"Too long: may not be more than {schema['maxLength']} bytes"
            yield Cause("FieldValueTooLong", message, path)
        if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
            yield _invalid(value, path, f"should match '{schema['pattern']}'")
        if wrong := _wrong_format(schema.get("format", ""), value):
            yield _invalid(value, path, wrong)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        limit = _RANGES.get(schema.get("format", ""))
        least = schema.get("minimum", -limit if limit else None)
        most = schema.get("maximum", limit - 1 if limit else None)
        if least is not None and value < least:
            yield _invalid(value, path, f"should be greater than or equal to {least}")
        if most is not None and value > most:
            yield _invalid(value, path, f"should be less than or equal to {most}")


def _object_errors(schema: Schema, value: Object, path: str) -> Iterator[Cause]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Cause("FieldValueRequired", "Required value", f"{path}.{name}" if path else name)
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        message = f"Too many: {len(value)}: must have at most {schema['maxProperties']} items"
        yield Cause("FieldValueTooMany", message, path)


def _array_errors(schema: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minItems", 0):
        yield _invalid(len(value), path, f"should have at least {schema['minItems']} items")
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        message = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield Cause("FieldValueTooMany", message, path)


def _repeated(schema: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys or schema.get("x-kubernetes-list-type") == "set":
        seen: list[Any] = []
        for index, part in enumerate(value):
            key = {name: part.get(name) for name in keys} if keys and isinstance(part, dict) else part
            if key in seen:
                yield Cause("FieldValueDuplicate", f"Duplicate value: {_shown(key)}", f"{path}[{index}]")
            seen.append(key)


def _wrong_format(name: str, value: str) -> str:
    if name == "date-time" and not _DATE_TIME.fullmatch(value):
        return "must be of type date-time, such as 2026-01-31T12:00:00Z"
    if name == "byte":
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return "must be of type byte: base64"
    return ""


@cache
def _pattern(text: str) -> re.Pattern[str]:
    # RE2's `$` is the end of the text; Python's also matches before a last line break.
    return re.compile(re.sub(r"(?<!\\)\$(?=$|[|)])", r"\\Z", text))


def _invalid(value: Any, path: str, message: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {_shown(value)}: {path} in body {message}", path)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for name, holds in _TYPES.items() if holds(value)), type(value).__name__)

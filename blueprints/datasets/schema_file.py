"""Schemas as YAML: the fields of `TableSchema`, written by people."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from blueprints.datasets.errors import DatasetError
from blueprints.schema import TableSchema


def parse_schema(text: str, *, origin: str = "schema") -> TableSchema:
    """The schema in a YAML text.

    Args:
        text: YAML mapping with the fields of `TableSchema`.
        origin: File name for error messages.

    Raises:
        DatasetError: The text is no YAML, has unknown or missing fields, or contradicts itself.
    """
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DatasetError(f"{origin}: not readable as YAML: {error}") from error
    if not isinstance(fields, dict):
        raise DatasetError(f"{origin}: expected a mapping with 'columns', and 'target' if there is one")
    try:
        schema = TableSchema.model_validate(fields)
    except ValidationError as error:
        problems = "".join(
            f"\n  {'.'.join(str(part) for part in problem['loc']) or 'schema'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise DatasetError(f"{origin}: not a valid table schema:{problems}") from error
    _check_target(schema, origin)
    return schema


def dump_schema(schema: TableSchema) -> str:
    """The schema as YAML; fields that have their default value are left out."""
    return yaml.safe_dump(
        schema.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=110
    )


def _check_target(schema: TableSchema, origin: str) -> None:
    if not schema.target:
        return
    target = schema.outcome()
    texts = [column.name for column in schema.features() if column.kind == "text"]
    if not texts:
        if target.kind != "integer" or target.nullable:
            raise DatasetError(
                f"{origin}: target {target.name!r} must be of kind 'integer' (0 or 1) and not nullable; "
                "a 'category' is the target of a table with a column of kind 'text'"
            )
        return
    if len(texts) > 1:
        raise DatasetError(f"{origin}: columns {', '.join(map(repr, texts))} are texts; keep the one to classify")
    if target.kind != "category" or target.nullable or len(target.categories) < 2:
        raise DatasetError(
            f"{origin}: target {target.name!r} of the texts must be of kind 'category', not nullable, with two or more "
            "labels"
        )
    if schema.column(texts[0]).nullable:
        raise DatasetError(f"{origin}: text {texts[0]!r} must not be nullable")

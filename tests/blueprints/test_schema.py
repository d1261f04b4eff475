"""Schemas: columns that make sense, and the roles that they play."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from blueprints.schema import Column, TableSchema

COLUMNS = (
    Column(name="id", kind="integer"),
    Column(name="at", kind="timestamp"),
    Column(name="age", kind="integer", minimum=18, maximum=18),
    Column(name="amount", kind="number"),
    Column(name="defaulted", kind="integer"),
)
ROLES = {"target": "defaulted", "time": "at", "identifier": "id", "protected": ("age",)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "Amount", "kind": "number"}, "name"),
        ({"name": "a b", "kind": "number"}, "name"),
        ({"name": "x" * 64, "kind": "number"}, "name"),
        ({"name": "x", "kind": "words"}, "kind"),
        ({"name": "x", "kind": "number", "maximum_length": 3}, "only texts have a minimum and a maximum length"),
        ({"name": "x", "kind": "text", "minimum_length": 4, "maximum_length": 3}, "minimum_length is above"),
        ({"name": "x", "kind": "category"}, "'categories' goes with kind 'category'"),
        ({"name": "x", "kind": "number", "categories": ("a",)}, "'categories' goes with kind 'category'"),
        ({"name": "x", "kind": "category", "categories": ("a", "a")}, "categories repeat"),
        ({"name": "x", "kind": "category", "categories": ("a",), "minimum": 0}, "only numbers have a minimum"),
        ({"name": "x", "kind": "timestamp", "maximum": 0}, "only numbers have a minimum"),
        ({"name": "x", "kind": "number", "minimum": 2, "maximum": 1}, "minimum 2.0 is above maximum 1.0"),
        ({"name": "x", "kind": "number", "max": 1}, "max"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Column(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": "paid"}, "target: no column is named 'paid'; there are id, at, age, amount, defaulted"),
        ({"time": "when"}, "time: no column is named 'when'"),
        ({"identifier": "key"}, "identifier: no column is named 'key'"),
        ({"protected": ("age", "sex")}, "protected: no column is named 'sex'"),
        ({"time": "age"}, "must be of kind 'timestamp'"),
        ({"columns": (*COLUMNS, COLUMNS[0])}, "column names repeat"),
        ({"columns": COLUMNS[:1]}, "columns"),
    ],
)
def test_a_role_that_no_column_can_play_is_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        TableSchema(**{"columns": COLUMNS, **ROLES, **wrong})


def test_a_model_learns_from_what_plays_no_other_role():
    schema = TableSchema(columns=COLUMNS, **ROLES)
    assert [column.name for column in schema.features()] == ["amount"]
    assert [column.name for column in schema.features(with_protected=True)] == ["age", "amount"]
    bare = TableSchema(columns=COLUMNS, target="defaulted")
    assert [column.name for column in bare.features()] == ["id", "at", "age", "amount"]


def test_a_table_may_have_no_target_and_says_so_when_asked_for_it():
    schema = TableSchema(columns=COLUMNS, time="at")
    assert schema.target == ""
    assert [column.name for column in schema.features()] == ["id", "age", "amount", "defaulted"]
    with pytest.raises(ValueError, match="the table has no target, so there is nothing to learn to predict"):
        schema.outcome()
    assert TableSchema(columns=COLUMNS, **ROLES).outcome() is COLUMNS[4]


def test_a_column_is_found_by_name_and_called_by_its_title():
    schema = TableSchema(columns=COLUMNS, **ROLES)
    assert schema.column("amount") is COLUMNS[3]
    with pytest.raises(KeyError):
        schema.column("height")
    assert Column(name="late_payments", kind="integer").label == "late payments"
    assert Column(name="late_payments", kind="integer", title="Late payments").label == "Late payments"


def test_a_schema_reads_what_it_writes_and_does_not_change():
    schema = TableSchema(columns=COLUMNS, **ROLES)
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    with pytest.raises(ValidationError, match="frozen"):
        schema.target = "age"

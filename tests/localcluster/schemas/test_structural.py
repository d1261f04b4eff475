"""What an API server does with an object by its schema, in its own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.schemas.structural import Rule, Structure

STRUCTURE = Structure(
    {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
                    "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Safe"},
                    "share": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100},
                    "size": {"type": "integer", "format": "int32"},
                    "port": {"x-kubernetes-int-or-string": True},
                    "maybe": {"type": "string", "nullable": True},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
                    "parts": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 2,
                        "items": {"$ref": "#/definitions/part"},
                        "x-kubernetes-list-map-keys": ["name"],
                    },
                    "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "at": {"type": "string", "format": "date-time"},
                    "secret": {"type": "string", "format": "byte"},
                },
            }
        },
    },
    {
        "part": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 1}},
            "rules": (Rule(lambda part: part["weight"] < 9, "weight must be below 9"),),
        }
    },
)


def said(spec):
    decoded, unknown = STRUCTURE.decode({"spec": {"name": "ab", **spec}})
    assert unknown == []
    STRUCTURE.fill(decoded)
    return [f"{cause.field}: {cause.message}" for cause in STRUCTURE.errors(decoded)]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", 1, 'Invalid value: "integer": spec.name in body must be of type string: "integer"'),
        ("name", "a", 'Invalid value: "a": spec.name in body should be at least 2 chars long'),
        ("name", "abcdef", "Too long: may not be more than 5 bytes"),
        ("name", "a1", "Invalid value: \"a1\": spec.name in body should match '^[a-z]+$'"),
        ("name", "ab\n", "Invalid value: \"ab\\n\": spec.name in body should match '^[a-z]+$'"),
        ("mode", "Slow", 'Unsupported value: "Slow": supported values: "Fast", "Safe"'),
        ("share", -1, "Invalid value: -1: spec.share in body should be greater than or equal to 0"),
        ("share", 101, "Invalid value: 101: spec.share in body should be less than or equal to 100"),
        ("share", True, 'Invalid value: "boolean": spec.share in body must be of type integer: "boolean"'),
        ("size", 2**31, "Invalid value: 2147483648: spec.size in body should be less than or equal to 2147483647"),
        ("port", 1.5, 'Invalid value: "number": spec.port in body must be of type integer,string: "number"'),
        ("labels", {"a": "", "b": "", "c": ""}, "Too many: 3: must have at most 2 items"),
        ("parts", [], "Invalid value: 0: spec.parts in body should have at least 1 items"),
        ("parts", [{"name": c} for c in "abc"], "Too many: 3: must have at most 2 items"),
        ("at", "now", 'Invalid value: "now": spec.at in body must be of type date-time, such as 2026-01-31T12:00:00Z'),
        ("secret", "a b", 'Invalid value: "a b": spec.secret in body must be of type byte: base64'),
    ],
)
def test_a_wrong_value_is_told_as_an_api_server_tells_it(field, value, message):
    assert said({field: value}) == [f"spec.{field}: {message}"]


def test_a_wrong_part_is_told_with_its_place():
    wrong = 'must be of type string: "integer"'
    assert said({"labels": {"a": 1}}) == [f'spec.labels.a: Invalid value: "integer": spec.labels.a in body {wrong}']
    assert said({"parts": [{"name": "a"}, {"name": "a"}]}) == ['spec.parts[1]: Duplicate value: {"name": "a"}']
    assert said({"parts": [{"weight": 9}]}) == ['spec.parts[0]: Invalid value: "object": weight must be below 9']
    assert said({"tags": ["a", "a"]}) == ['spec.tags[1]: Duplicate value: "a"']


def test_what_is_right_passes():
    spec = {"port": "http", "share": 0, "labels": {"a": "b"}, "at": "2026-01-31T12:00:00.5+01:00", "secret": "YQ=="}
    assert said(spec) == []
    assert said({"port": 80, "maybe": None, "open": {"any": [{"thing": None}]}}) == []


def test_missing_fields_are_required():
    assert [(cause.reason, cause.field) for cause in STRUCTURE.errors({})] == [("FieldValueRequired", "spec")]
    assert [cause.field for cause in STRUCTURE.errors({"spec": {}})] == ["spec.name"]


def test_unknown_fields_are_named_and_dropped_and_nulls_go_unless_they_may_stay():
    item = {"spec": {"x": 1, "parts": [{"name": "a", "y": {}}], "open": {"z": 1}, "mode": None, "maybe": None}, "k": 1}
    decoded, unknown = STRUCTURE.decode(item)
    assert sorted(unknown) == ["k", "spec.parts[0].y", "spec.x"]
    assert decoded == {"spec": {"parts": [{"name": "a"}], "open": {"z": 1}, "maybe": None}}
    decoded["spec"]["open"]["z"] = 2
    assert item["spec"]["open"] == {"z": 1}


def test_defaults_fill_what_is_missing_at_every_depth_and_nothing_else():
    item = {"spec": {"mode": "Fast", "parts": [{"name": "a"}, {"name": "b", "weight": 0}]}}
    STRUCTURE.fill(item)
    assert item["spec"] == {"mode": "Fast", "parts": [{"name": "a", "weight": 1}, {"name": "b", "weight": 0}]}
    STRUCTURE.fill(empty := {"spec": {}})
    assert empty == {"spec": {"mode": "Safe"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "parts", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(STRUCTURE.root["properties"]["spec"]["properties"])), JSON))
def test_whatever_is_sent_is_decoded_and_judged_without_falling_over(spec):
    decoded, _ = STRUCTURE.decode({"spec": spec})
    assert STRUCTURE.decode(decoded) == (decoded, [])
    if not STRUCTURE.type_errors(decoded):
        STRUCTURE.fill(decoded)
        STRUCTURE.errors(decoded)

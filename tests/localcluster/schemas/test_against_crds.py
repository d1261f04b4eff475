"""The schemas that the project carries, held against the CustomResourceDefinitions: nothing that those refuse passes.

The referee is another implementation, jsonschema, on the CRD itself.
"""

import copy
import os
import random
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from localcluster.render import render
from localcluster.schemas.kinds import structure
from localcluster.schemas.structural import Structure

ROOT = Path(__file__).parents[3]
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
KINDS = {
    "InferenceService": ("serving.kserve.io/v1beta1", "kserve_inferenceservices.yaml"),
    "ServingRuntime": ("serving.kserve.io/v1alpha1", "kserve_servingruntimes.yaml"),
    "ClusterServingRuntime": ("serving.kserve.io/v1alpha1", "kserve_clusterservingruntimes.yaml"),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", "gateway-api_httproute.yaml"),
    "Gateway": ("gateway.networking.k8s.io/v1", "gateway-api_gateway.yaml"),
    "GatewayClass": ("gateway.networking.k8s.io/v1", "gateway-api_gatewayclasses.yaml"),
}
LIMITS = ("enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties")
# Defaults of volumes that nobody here mounts, and empty names: they change nothing that anybody reads.
IMMATERIAL_DEFAULT = re.compile(r"\.(name|service|optional)$|\.(azureDisk|iscsi|rbd|scaleIO)\.\w+$|^\.status")

pytestmark = pytest.mark.skipif(
    not CRDS.is_dir(), reason=f"{CRDS}: no CustomResourceDefinitions there; name a folder of them with CRDS=…"
)


@cache
def crd(kind):
    """The schema in the CRD, of the version that we use."""
    version, file = KINDS[kind]
    document = yaml.load((CRDS / file).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    (found,) = [each for each in document["spec"]["versions"] if each["name"] == version.rpartition("/")[2]]
    return found["schema"]["openAPIV3Schema"]


def ours(kind):
    return structure(KINDS[kind][0], kind)


def differences(theirs, mine, mapped, path=""):
    """What a CRD forbids, or defaults, and we do not."""
    outer = mine
    while "$ref" in mine:
        mine = mapped[mine["$ref"].rpartition("/")[2]]
    mine = {**mine, **{key: value for key, value in outer.items() if key != "$ref"}}
    if theirs.get("x-kubernetes-preserve-unknown-fields"):
        return
    if mine.get("x-kubernetes-preserve-unknown-fields"):
        yield path, "open"
        return
    for key in (*LIMITS, "format", "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys"):
        if theirs.get(key) and theirs[key] != mine.get(key):
            yield path, key
    if theirs.get("type") and theirs["type"] not in _types(mine):
        yield path, f"type {theirs['type']}"
    if "default" in theirs and theirs["default"] != mine.get("default") and not IMMATERIAL_DEFAULT.search(path):
        yield path, "default"
    yield from ((path, f"required {name}") for name in set(theirs.get("required", [])) - set(mine.get("required", [])))
    known, here = theirs.get("properties", {}), mine.get("properties", {})
    if isinstance(theirs.get("additionalProperties"), dict):
        yield from differences(theirs["additionalProperties"], mine["additionalProperties"], mapped, path + "{}")
    elif theirs.get("type") == "object":
        yield from ((f"{path}.{name}", "only ours") for name in here.keys() - known.keys())
    for name in known.keys() & here.keys():
        yield from differences(known[name], here[name], mapped, f"{path}.{name}")
    if "items" in theirs:
        yield from differences(theirs["items"], mine["items"], mapped, path + "[]")


def _types(schema):
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_limit_of_the_crd_is_ours_too(kind):
    theirs, mine = crd(kind), ours(kind)
    for part in ("spec", "status"):
        found = sorted(
            differences(theirs["properties"][part], mine.root["properties"][part], mine.definitions, f".{part}")
        )
        if kind == "InferenceService":  # a rule of ours says that, since the model's schema is the stable one's too
            found = [each for each in found if not re.fullmatch(r"\.spec\.canary\[\]\.predictor\.\w+", each[0])]
        assert found == []
    assert set(theirs.get("required", [])) <= set(mine.root.get("required", []))


def strict(schema):
    """A CRD's schema as JSON Schema that refuses unknown fields, as the API server does."""
    if not isinstance(schema, dict):
        return schema
    # A Gateway's addresses have a `oneOf` that counts after defaults; ours is a rule.
    left = {"nullable", "oneOf"}
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key not in left}
    closed = schema.get("type") == "object" and "additionalProperties" not in schema
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if key in schema:
            made[key] = strict(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


@cache
def referee(kind):
    schema = strict(crd(kind))
    schema["properties"]["metadata"] = {"type": "object"}
    return Draft4Validator(schema)


@cache
def shape(kind):
    """Ours without rules, which go beyond what the referee can judge: a generated object breaks them by chance."""

    def without(schema):
        if isinstance(schema, dict):
            return {key: without(value) for key, value in schema.items() if not isinstance(value, tuple)}
        return schema

    return Structure(without(ours(kind).root), ours(kind).definitions)


def refused(structure, item):
    decoded, unknown = structure.decode(item)
    if unknown or structure.type_errors(decoded):
        return True
    structure.fill(decoded)
    return bool(structure.errors(decoded))


# KServe takes these out of its CRD's requirements, though what it makes of them needs them: we ask for them at once.
ALSO_REQUIRED = {"os": ["name"], "httpGet": ["port"], "tcpSocket": ["port"], "model": ["modelFormat"]}
NOT_TAKEN = {"ephemeralContainers"}
STRINGS = ("a", "10", "1Gi", "/a", "10s", "http://a", "example.com/a", "Hostname", "2026-01-31T12:00:00Z", "127.0.0.1")


def generated(schema, rng, depth=0, field=""):  # noqa: PLR0911
    """An object that a CRD allows, chosen by chance."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return rng.choice([1, "1"])
    kind = schema.get("type", "object")
    if kind == "object":
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict):
            return {"a": generated(inner, rng, depth + 1)}
        required = [*schema.get("required", []), *ALSO_REQUIRED.get(field, [])]
        share = 0.9 if depth < 2 else 0.35 / (depth - 1)
        return {
            name: generated(part, rng, depth + 1, name)
            for name, part in schema.get("properties", {}).items()
            if name in required or (rng.random() < share and name not in NOT_TAKEN)
        }
    if kind == "array":
        size = max(schema.get("minItems", 0), rng.randrange(2))
        return [generated(schema["items"], rng, depth + 1) for _ in range(size)]
    if kind == "string":
        fitting = [text for text in STRINGS if re.search(schema.get("pattern", ""), text)]
        return rng.choice(fitting)
    return {"integer": max(1, schema.get("minimum", 1)), "number": 1.5, "boolean": True}[kind]


def places(value, path=()):
    """Every place in an object, by the keys that lead there."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def mutated(item, path, how):
    """A copy with one thing changed; None if that cannot be done there."""
    copied = copy.deepcopy(item)
    *above, last = path
    holder = copied
    for key in above:
        holder = holder[key]
    value = holder[last]
    if how == "unknown field":
        if not isinstance(value, dict):
            return None
        value["unknownField"] = 1
    elif how == "missing":
        del holder[last]
    elif how == "too many":
        if not (isinstance(value, list) and value):
            return None
        holder[last] = value * 200
    else:
        holder[last] = how
    return copied


CHANGES = st.sampled_from(
    ["unknown field", "missing", "too many", "", "NOT valid!", "x" * 5000, -1, 0, 2**40, 1.5, True, [], {}, [[]]]
)


@cache
def manifests():
    return [item for item in render(ROOT / "kustomize" / "overlays" / "prod") if item["kind"] in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_crd_allows_passes_and_what_it_refuses_is_refused(kind):
    schema, judge, mine = crd(kind)["properties"]["spec"], referee(kind), shape(kind)

    @settings(max_examples=120, deadline=None)
    @given(st.integers(0, 2**32), CHANGES, st.data())
    def holds(seed, how, data):
        item = {
            "apiVersion": KINDS[kind][0],
            "kind": kind,
            "metadata": {"name": "a"},
            "spec": generated(schema, random.Random(seed)),  # noqa: S311
        }
        assert judge.is_valid(item)
        assert not refused(mine, item)
        path = data.draw(st.sampled_from([each for each in places(item) if each[:1] == ("spec",)]))
        changed = mutated(item, path, how)
        if changed is not None and not judge.is_valid(changed):
            assert refused(mine, changed)

    holds()


@settings(max_examples=250, deadline=None)
@given(st.data(), CHANGES)
def test_a_mutation_of_our_own_manifests_that_the_crd_refuses_is_refused(data, how):
    item = data.draw(st.sampled_from(manifests()))
    path = data.draw(st.sampled_from([each for each in places(item) if each[:1] == ("spec",)]))
    changed = mutated(item, path, how)
    if changed is not None and not referee(item["kind"]).is_valid(changed):
        assert refused(ours(item["kind"]), changed)


def test_our_manifests_are_what_both_allow():
    for item in manifests():
        assert referee(item["kind"]).is_valid(item)
        assert not refused(ours(item["kind"]), item)


@pytest.mark.parametrize("kind", ["HTTPRoute", "Gateway", "GatewayClass"])
def test_every_cel_rule_of_gateway_api_is_ported_with_its_message(kind):
    def messages(schema, key):
        found = {getattr(rule, "message", None) or rule["message"] for rule in schema.get(key, ())}
        for part in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
            if isinstance(part, dict):
                found |= messages(part, key)
        return found

    theirs = messages(crd(kind)["properties"]["spec"], "x-kubernetes-validations")
    mine = messages(ours(kind).root["properties"]["spec"], "rules")
    # Said elsewhere: by `enum`, by the list's keys, and in what an update must not change.
    elsewhere = {
        "type must be one of ['Exact', 'PathPrefix', 'RegularExpression']",
        "Listener name must be unique within the Gateway",
        "Port for TLS configuration must be unique within the Gateway",
        "Value is immutable",
    }
    assert theirs - mine <= elsewhere

import json

import pytest

from localcluster.api import discovery, openapi
from localcluster.api.resources import RESOURCES


def test_every_resource_is_found_from_the_root():
    groups = discovery.document("/apis")["groups"]
    versions = [each["groupVersion"] for group in groups for each in group["versions"]]
    roots = [f"/apis/{version}" for version in versions] + ["/api/v1"]
    found = {
        (document["groupVersion"], resource["name"])
        for document in map(discovery.document, roots)
        for resource in document["resources"]
    }
    for resource in RESOURCES:
        names = [resource.plural, *(f"{resource.plural}/{part}" for part in resource.subresources)]
        assert {(resource.api_version, name) for name in names} <= found


def test_a_group_prefers_its_first_version():
    group = discovery.document("/apis/gateway.networking.k8s.io")
    assert group["preferredVersion"]["version"] == "v1"
    assert [each["version"] for each in group["versions"]] == ["v1", "v1beta1"]
    assert discovery.document("/api")["versions"] == ["v1"]


def test_subresources_have_no_names_of_their_own_for_users():
    listed = {each["name"]: each for each in discovery.document("/apis/apps/v1/")["resources"]}
    assert listed["deployments"]["shortNames"] == ["deploy"]
    assert listed["deployments"]["categories"] == ["all"]
    assert not {"shortNames", "categories"} & listed["deployments/scale"].keys()
    assert listed["deployments/scale"]["kind"] == "Scale"
    assert listed["deployments/scale"]["group"] == "autoscaling"


@pytest.mark.parametrize(
    "path", ["/", "/apis/nothing", "/apis/apps/v2", "/api/v2", "/apis//v1", "/openapi", "/apis/a/b/c"]
)
def test_there_is_nothing_elsewhere(path):
    assert discovery.document(path) is None
    assert openapi.document(path) is None


def test_every_kind_has_a_patch_with_the_parameters_that_kubectl_looks_for():
    kinds = {}
    for place in openapi.document("/openapi/v3")["paths"].values():
        document = openapi.document(place["serverRelativeURL"])
        for path, operations in document["paths"].items():
            if patch := operations.get("patch"):
                kind = patch["x-kubernetes-group-version-kind"]
                kinds[kind["group"], kind["version"], kind["kind"]] = path
                assert {"fieldValidation", "dryRun", "fieldManager"} <= {each["name"] for each in patch["parameters"]}
    assert set(kinds) == {(resource.group, resource.version, resource.kind) for resource in RESOURCES}
    assert kinds["", "v1", "Pod"] == "/api/v1/namespaces/{namespace}/pods/{name}"
    assert kinds["", "v1", "Namespace"] == "/api/v1/namespaces/{name}"


def test_documents_refer_to_nothing_outside():
    for place in openapi.document("/openapi/v3")["paths"].values():
        document = openapi.document(place["serverRelativeURL"])
        text = json.dumps(document)
        assert "$defs" not in text
        schemas = document["components"]["schemas"]
        assert set(_references(document)) <= {f"#/components/schemas/{name}" for name in schemas}


def _references(node):
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _references(part)
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        yield node["$ref"]


def test_the_old_document_is_there_for_lists_alone():
    assert openapi.legacy_document("/openapi/v2") == b"\n\x032.0"
    assert openapi.legacy_document("/openapi/v3") is None

import os
from pathlib import Path

import pytest
import yaml

from localcluster.api.merge_schema import definition_of, merge_schema
from localcluster.api.resources import DEPLOYMENTS, PODS, RESOURCES, resource_of

ROOT = Path(__file__).resolve().parents[3]
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))


@pytest.mark.parametrize("resource", [each for each in RESOURCES if not each.custom], ids=lambda each: each.kind)
def test_every_core_kind_has_a_definition(resource):
    assert definition_of(resource.api_version, resource.kind)
    assert merge_schema(resource).field("metadata").field("finalizers").list_type == "set"


def test_lists_of_a_pod_are_told_apart_by_their_keys():
    pod = merge_schema(DEPLOYMENTS).field("spec").field("template").field("spec")
    containers = pod.field("containers")
    assert (containers.list_type, containers.list_keys, containers.merge_key) == ("map", ("name",), "name")
    ports = containers.item().field("ports")
    assert (ports.list_keys, ports.merge_key) == (("containerPort", "protocol"), "containerPort")
    assert ports.key_of({"containerPort": 80}) == (80, "TCP")
    assert containers.item().field("args").list_type == "atomic"
    assert pod.field("imagePullSecrets").list_type == "map"


def test_a_list_with_a_merge_key_alone_has_that_key():
    host_ips = merge_schema(PODS).field("status").field("hostIPs")
    assert (host_ips.merge_key, host_ips.list_type) == ("ip", "atomic")


def test_an_unknown_field_is_open():
    unknown = merge_schema(DEPLOYMENTS).field("spec").field("fromTheFuture")
    assert (unknown.list_type, unknown.atomic, unknown.strategies) == ("atomic", False, ("",))
    assert unknown.field("more").item().list_keys == ()


@pytest.mark.parametrize("path", sorted(CRDS.glob("[gk][as]*_*.yaml")), ids=lambda path: path.stem)
def test_lists_of_custom_kinds_merge_as_their_crds_declare(path):
    for crd in yaml.load_all(path.read_text(), yaml.CSafeLoader):
        if not crd:
            continue
        names = crd["spec"]["names"]
        for version in crd["spec"]["versions"]:
            api_version = f"{crd['spec']['group']}/{version['name']}"
            resource = resource_of({"apiVersion": api_version, "kind": names["kind"]})
            if resource is not None:
                _compare(version["schema"]["openAPIV3Schema"], merge_schema(resource), names["kind"])


def test_there_are_crds_to_compare_with():
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS}: no CustomResourceDefinitions there; name a folder of them with CRDS=…")
    assert list(CRDS.glob("kserve_inferenceservices.yaml"))


def _compare(declared, known, path):
    """Compares all lists that can merge; what lies within an atomic list or map merges with it."""
    if declared.get("type") == "array":
        expected = declared.get("x-kubernetes-list-type", "atomic")
        assert known.list_type == expected, path
        if expected == "map":
            assert list(known.list_keys) == declared["x-kubernetes-list-map-keys"], path
            _compare(declared["items"], known.item(), f"{path}[]")
        return
    atomic = declared.get("x-kubernetes-map-type") == "atomic"
    assert known.atomic == atomic, path
    if not atomic:
        for name, part in (declared.get("properties") or {}).items():
            _compare(part, known.field(name), f"{path}.{name}")

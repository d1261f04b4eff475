"""What people see of admission through the real kubectl."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PROD = ROOT / "kustomize" / "overlays" / "prod"


@pytest.fixture(scope="module")
def shop(cluster):
    """A cluster with the production overlay applied."""
    cluster.kubectl("apply", "-k", PROD)
    return cluster


def changed(kubectl_output, *path, value):
    item = yaml.safe_load(kubectl_output)
    node = item
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return yaml.safe_dump(item)


def get(cluster, kind):
    return cluster.kubectl("get", kind, "credit-risk", "-n", "blueprints-prod", "-o", "yaml")


def test_what_was_applied_differs_in_nothing_whatever_the_defaults(shop):
    shop.kubectl("diff", "-k", PROD)
    names = ("inferenceservice,servingruntime,httproute,pdb,networkpolicy,serviceaccount", "-n", "blueprints-prod")
    versions = [shop.kubectl("get", *names, "-o", "jsonpath={.items[*].metadata.resourceVersion}")]
    shop.kubectl("apply", "-k", PROD)
    versions.append(shop.kubectl("get", *names, "-o", "jsonpath={.items[*].metadata.resourceVersion}"))
    assert versions[0] == versions[1]


def test_defaults_are_there(shop):
    route = yaml.safe_load(get(shop, "httproute"))
    assert route["spec"]["parentRefs"][0]["kind"] == "Gateway"
    assert {backend["kind"] for rule in route["spec"]["rules"] for backend in rule["backendRefs"]} == {"Service"}


def test_a_field_that_nobody_knows_is_an_error_with_its_path(shop):
    given = changed(get(shop, "isvc"), "spec", "predictor", "minReplica", value=1)
    said = shop.kubectl("apply", "-f", "-", stdin=given, fails=True)
    assert 'strict decoding error: unknown field "spec.predictor.minReplica"' in said
    said = shop.kubectl("apply", "--validate=warn", "-f", "-", stdin=given)
    assert 'Warning: unknown field "spec.predictor.minReplica"' in said
    assert "minReplica:" not in get(shop, "isvc").partition("spec:\n")[2]


def test_a_value_that_cannot_be_is_told_as_a_cluster_tells_it(shop):
    given = changed(get(shop, "httproute"), "spec", "rules", 0, "backendRefs", 0, "weight", value=2_000_000)
    said = shop.kubectl("apply", "-f", "-", stdin=given, fails=True)
    assert 'The HTTPRoute "credit-risk" is invalid: ' in said
    assert "spec.rules[0].backendRefs[0].weight in body should be less than or equal to 1000000" in said


def test_kserves_webhook_speaks(shop):
    given = changed(get(shop, "isvc"), "spec", "predictor", "minReplicas", value=99)
    said = shop.kubectl("apply", "-f", "-", stdin=given, fails=True)
    assert 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request:' in said
    assert "'MinReplicas' cannot be greater than MaxReplicas" in said

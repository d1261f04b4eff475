import copy

import pytest

from localcluster.component_objects import deployment, service
from localcluster.inference_service import components
from localcluster.render import Objects, render

OWNER = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "shop", "uid": "u"}
STORAGE = "internal.serving.kserve.io/storage-initializer-sourceuri"


@pytest.fixture
def objects(overlay):
    return Objects(tuple(copy.deepcopy(list(render(overlay)))))


@pytest.fixture
def shop(objects):
    return objects.get("InferenceService", "shop")


def parts(shop, objects):
    return {part.role: part for part in components(shop, objects)}


def test_names_labels_and_selector_are_kserves(shop, objects):
    for role, part in parts(shop, objects).items():
        made, front = deployment(part, OWNER), service(part, OWNER)
        name = f"shop-{role}"
        assert made["metadata"]["name"] == front["metadata"]["name"] == name
        assert made["spec"]["selector"]["matchLabels"] == front["spec"]["selector"] == {"app": f"isvc.{name}"}
        labels = made["spec"]["template"]["metadata"]["labels"]
        assert labels == {
            "app": f"isvc.{name}",
            "component": role,
            "model": "till",
            "serving.kserve.io/inferenceservice": "shop",
        }
        assert made["metadata"]["labels"] == front["metadata"]["labels"] == labels
        assert made["metadata"]["ownerReferences"] == front["metadata"]["ownerReferences"] == [OWNER]
        assert made["spec"]["template"]["metadata"]["annotations"][STORAGE] == "pvc://models/shop"


def test_labels_and_annotations_of_the_component_come_before_the_services_and_the_runtimes(shop, objects):
    runtime = objects.get("ServingRuntime", "tiny")
    runtime["spec"] |= {
        "labels": {"a": "runtime", "b": "runtime"},
        "annotations": {"prometheus.kserve.io/port": "8080"},
    }
    shop["metadata"]["labels"] |= {"b": "service", "c": "service"}
    shop["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    shop["spec"]["predictor"] |= {"labels": {"c": "predictor"}, "annotations": {"prometheus.io/scrape": "true"}}
    metadata = deployment(parts(shop, objects)["predictor"], OWNER)["spec"]["template"]["metadata"]
    assert {key: metadata["labels"][key] for key in "abc"} == {"a": "runtime", "b": "service", "c": "predictor"}
    assert metadata["annotations"].keys() == {
        "prometheus.kserve.io/port",
        "prometheus.io/scrape",
        "serving.kserve.io/deploymentMode",
        STORAGE,
    }
    assert "a" not in parts(shop, objects)["transformer"].labels


def test_the_first_port_is_80_and_the_others_keep_their_numbers(shop, objects):
    found = parts(shop, objects)
    http = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    grpc = {"name": "grpc", "port": 8081, "targetPort": 8081, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"}
    assert service(found["predictor"], OWNER)["spec"]["ports"] == [http, grpc]
    assert service(found["transformer"], OWNER)["spec"]["ports"] == [http]
    del shop["spec"]["explainer"]["containers"][0]["ports"]
    bare = service(parts(shop, objects)["explainer"], OWNER)["spec"]["ports"]
    assert bare == [{"name": "shop-explainer", "port": 80, "targetPort": 8080, "protocol": "TCP"}]


def test_a_deployment_keeps_what_the_component_says_of_its_pods(shop, objects):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    shop["spec"]["transformer"] |= {
        "minReplicas": 3,
        "deploymentStrategy": strategy,
        "serviceAccountName": "clerk",
        "tolerations": [{"key": "spot"}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    made = deployment(parts(shop, objects)["transformer"], OWNER)
    pod = made["spec"]["template"]["spec"]
    assert (made["spec"]["replicas"], made["spec"]["strategy"]) == (3, strategy)
    assert (pod["serviceAccountName"], pod["tolerations"]) == ("clerk", [{"key": "spot"}])
    assert pod["terminationGracePeriodSeconds"] == 5
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]


def test_a_runtimes_pod_fields_are_the_ground_under_the_predictors(shop, objects):
    objects.get("ServingRuntime", "tiny")["spec"] |= {
        "nodeSelector": {"disk": "ssd", "zone": "a"},
        "volumes": [{"name": "shm", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    limited = {"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}
    shop["spec"]["predictor"] |= {"nodeSelector": {"zone": "b"}, "volumes": [limited]}
    pod = deployment(parts(shop, objects)["predictor"], OWNER)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd", "zone": "b"}
    assert pod["volumes"] == [{"name": "shm", "emptyDir": {}}, limited]


def test_no_replicas_are_one(shop, objects):
    shop["spec"]["predictor"]["minReplicas"] = 0
    assert deployment(parts(shop, objects)["predictor"], OWNER)["spec"]["replicas"] == 1


def test_a_container_without_readiness_probe_gets_kserves(shop, objects):
    container = shop["spec"]["explainer"]["containers"][0]
    del container["readinessProbe"]
    container["name"] = "mine"
    made = deployment(parts(shop, objects)["explainer"], OWNER)["spec"]["template"]["spec"]["containers"][0]
    assert made["readinessProbe"] == {"tcpSocket": {"port": 8080}}
    assert made["name"] == "kserve-container"

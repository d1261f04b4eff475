"""Core kinds: an API server's defaults, rules and what stays as it is."""

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcluster.admission.quantity import quantity
from localcluster.api.admission import admit
from localcluster.api.errors import ApiError
from localcluster.api.resources import resource_of

CONTAINER = {"name": "app", "image": "a:1"}
LABELS = {"app": "web"}


def item(kind, version="v1", spec=None, name="web", **fields):
    made = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, **fields}
    return {**made, "spec": spec} if spec is not None else made


def pod(container=None, **fields):
    return item("Pod", spec={"containers": [{**CONTAINER, **(container or {})}], **fields})


def deployment(container=None, labels=LABELS, **fields):
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{**CONTAINER, **(container or {})}]}}
    return item("Deployment", "apps/v1", {"selector": {"matchLabels": LABELS}, "template": template, **fields})


def job(kind="Job", **fields):
    template = {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
    return item(kind, "batch/v1", {"template": template, **fields})


def cron_job(schedule="*/5 * * * *", name="web", **fields):
    return item("CronJob", "batch/v1", {"schedule": schedule, "jobTemplate": {"spec": job()["spec"]}, **fields}, name)


def service(*ports, **fields):
    return item("Service", spec={"selector": LABELS, "ports": list(ports) or [{"port": 80}], **fields})


def admitted(made, old=None):
    return admit(resource_of(made), "UPDATE" if old else "CREATE", made, old).item


def refused(made, old=None):
    with pytest.raises(ApiError) as caught:
        admitted(made, old)
    return caught.value


def test_a_deployment_gets_what_its_controller_relies_on():
    spec = admitted(deployment())["spec"]
    assert {key: spec[key] for key in ("replicas", "revisionHistoryLimit", "progressDeadlineSeconds", "strategy")} == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    }
    recreated = admitted(deployment(strategy={"type": "Recreate"}))
    assert recreated["spec"]["strategy"] == {"type": "Recreate"}


def test_a_pod_gets_what_a_kubelet_relies_on():
    probe = {"httpGet": {"port": 80}}
    made = admitted(
        pod({"readinessProbe": probe, "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1}}})
    )
    spec = made["spec"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["enableServiceLinks"]) == (
        "Always",
        30,
        True,
    )
    (container,) = spec["containers"]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "failureThreshold": 3,
        "periodSeconds": 10,
        "successThreshold": 1,
        "timeoutSeconds": 1,
    }
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["resources"] == {"limits": {"cpu": 1}, "requests": {"cpu": 1}}
    assert (container["imagePullPolicy"], container["terminationMessagePolicy"]) == ("IfNotPresent", "File")


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("host:5000/a", "Always"),
        ("a:1", "IfNotPresent"),
        ("a@sha256:0", "IfNotPresent"),
    ],
)
def test_an_image_that_moves_is_pulled_always(image, policy):
    assert admitted(pod({"image": image}))["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_jobs_services_and_others_get_their_defaults():
    assert admitted(job())["spec"].items() >= {"backoffLimit": 6, "completions": 1, "parallelism": 1}.items()
    assert "completions" not in admitted(job(parallelism=2))["spec"]
    assert (
        admitted(cron_job())["spec"].items() >= {"concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3}.items()
    )
    made = admitted(service({"port": 80}))["spec"]
    assert made["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert made.items() >= {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}.items()
    assert admitted(item("Secret"))["type"] == "Opaque"
    assert admitted(item("Namespace"))["metadata"]["labels"] == {"kubernetes.io/metadata.name": "web"}
    policy = admitted(item("NetworkPolicy", "networking.k8s.io/v1", {"podSelector": {}, "egress": [{}]}))
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


EVERYTHING = [
    pod(),
    deployment(),
    job(),
    cron_job(),
    service(),
    item("ConfigMap", data={"a": "b"}),
    item("Secret", data={"a": "YQ=="}),
]


@pytest.mark.parametrize("made", EVERYTHING, ids=lambda made: made["kind"])
def test_what_was_admitted_is_admitted_again_unchanged(made):
    before = copy.deepcopy(made)
    once = admitted(made)
    assert made == before
    assert admitted(once, once) == once


@pytest.mark.parametrize(
    ("made", "field", "message"),
    [
        (pod({"image": ""}), "spec.containers[0].image", "Required value"),
        (pod({"name": "App"}), "spec.containers[0].name", "a lowercase RFC 1123 label must consist of"),
        (pod(initContainers=[CONTAINER]), "spec.containers[0].name", 'Duplicate value: "app"'),
        (pod({"ports": [{"containerPort": 0}]}), "spec.containers[0].ports[0].containerPort", "between 1 and 65535"),
        (
            pod({"ports": [{"containerPort": 1, "name": "x" * 16}]}),
            "spec.containers[0].ports[0].name",
            "no more than 15",
        ),
        (
            pod({"ports": [{"containerPort": 1, "protocol": "X"}]}),
            "spec.containers[0].ports[0].protocol",
            "Unsupported",
        ),
        (pod({"readinessProbe": {}}), "spec.containers[0].readinessProbe", "must specify a handler type"),
        (
            pod({"livenessProbe": {"exec": {}, "tcpSocket": {"port": 1}}}),
            "spec.containers[0].livenessProbe.tcpSocket",
            "Forbidden: may not specify more than 1 handler type",
        ),
        (
            pod({"livenessProbe": {"exec": {}, "successThreshold": 2}}),
            "spec.containers[0].livenessProbe.successThreshold",
            "Invalid value: 2: must be 1",
        ),
        (
            pod({"volumeMounts": [{"name": "a", "mountPath": "/a"}]}),
            "spec.containers[0].volumeMounts[0].name",
            "Not found",
        ),
        (pod(volumes=[{"name": "a"}, {"name": "a"}]), "spec.volumes[1].name", 'Duplicate value: "a"'),
        (
            pod(volumes=[{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "spec.volumes[0].hostPath",
            "Forbidden",
        ),
        (
            pod({"env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}),
            "spec.containers[0].env[0].valueFrom",
            "may not be specified when `value` is not empty",
        ),
        (
            pod({"resources": {"requests": {"cpu": "lots"}}}),
            "spec.containers[0].resources.requests.cpu",
            "quantities must",
        ),
        (
            pod({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}}),
            "spec.containers[0].resources.requests",
            "must be less than or equal to cpu limit of 500m",
        ),
        (pod(restartPolicy="Often"), "spec.restartPolicy", "Unsupported value"),
        (pod({"imagePullPolicy": "No"}), "spec.containers[0].imagePullPolicy", "Unsupported value"),
        (
            deployment(labels={"app": "wob"}),
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (deployment(selector={}), "spec.selector", "empty selector is invalid for deployment"),
        (deployment(replicas=-1), "spec.replicas", "must be greater than or equal to 0"),
        (
            deployment(progressDeadlineSeconds=1, minReadySeconds=1),
            "spec.progressDeadlineSeconds",
            "greater than minReady",
        ),
        (deployment(strategy={"type": "Blue"}), "spec.strategy.type", "Unsupported value"),
        (deployment(strategy={"type": "Recreate", "rollingUpdate": {}}), "spec.strategy.rollingUpdate", "Forbidden"),
        (
            deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
            "spec.strategy.rollingUpdate.maxUnavailable",
            "may not be 0 when `maxSurge` is 0",
        ),
        (
            deployment(strategy={"rollingUpdate": {"maxSurge": "half"}}),
            "spec.strategy.rollingUpdate.maxSurge",
            "percent",
        ),
        (
            job(template={"spec": {"containers": [CONTAINER]}}),
            "spec.template.spec.restartPolicy",
            '"OnFailure", "Never"',
        ),
        (job(backoffLimit=-1), "spec.backoffLimit", "greater than or equal to 0"),
        (cron_job("often"), "spec.schedule", "must be five fields"),
        (cron_job(name="x" * 53), "metadata.name", "no more than 52 characters"),
        (cron_job(concurrencyPolicy="Maybe"), "spec.concurrencyPolicy", "Unsupported value"),
        (service({"port": 0}), "spec.ports[0].port", "between 1 and 65535"),
        (service({"port": 1}, {"port": 2, "name": "b"}), "spec.ports[0].name", "Required value"),
        (service({"port": 1, "name": "a"}, {"port": 2, "name": "a"}), "spec.ports[1].name", "Duplicate value"),
        (service(ports=[]), "spec.ports", "Required value"),
        (service(type="Internal"), "spec.type", "Unsupported value"),
        (item("ConfigMap", data={"a b": ""}), "data[a b]", "a valid config key must consist of"),
        (
            item("PodDisruptionBudget", "policy/v1", {"minAvailable": 1, "maxUnavailable": 1}),
            "spec",
            "cannot be both set",
        ),
        (
            item(
                "HorizontalPodAutoscaler",
                "autoscaling/v2",
                {"maxReplicas": 1, "minReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "a"}},
            ),
            "spec.maxReplicas",
            "must be greater than or equal to `minReplicas`",
        ),
        (
            item(
                "NetworkPolicy",
                "networking.k8s.io/v1",
                {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            ),
            "spec.podSelector.matchExpressions[0].values",
            "must be specified when",
        ),
    ],
)
def test_what_an_api_server_refuses_is_refused_in_its_words(made, field, message):
    error = refused(made)
    (cause,) = [cause for cause in error.causes if cause.field == field]
    assert (error.code, error.reason) == (422, "Invalid")
    assert message in cause.message
    assert f"{field}: {cause.message}" in error.message


def test_a_wrong_type_cannot_be_decoded():
    error = refused(deployment(replicas="three"))
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message == (
        'Deployment in version "v1" cannot be handled as a Deployment: '
        'spec.replicas in body must be of type integer: "string"'
    )


@pytest.mark.parametrize(
    ("old", "change", "message"),
    [
        (deployment(), {"selector": {"matchLabels": {}}}, ""),
        (
            job(),
            {"template": {"spec": {"restartPolicy": "OnFailure", "containers": [CONTAINER]}}},
            "field is immutable",
        ),
        (pod(), {"hostname": "other"}, "pod updates may not change fields other than `spec.containers[*].image`"),
        (pod(nodeName="a"), {"nodeName": "b"}, "pod updates may not change fields other than"),
    ],
)
def test_what_must_stay_stays(old, change, message):
    stored = admitted(old)
    assert message in refused({**stored, "spec": {**stored["spec"], **change}}, stored).message


def test_a_selector_stays():
    stored = admitted(deployment())
    other = {"app": "other"}
    moved = deployment(labels=other, selector={"matchLabels": other})
    assert refused(moved, stored).causes[0].message.endswith("field is immutable")


def test_what_may_change_changes():
    stored = admitted(pod())
    placed = {**stored, "spec": {**stored["spec"], "nodeName": "a"}}
    assert admitted(placed, stored) == placed
    newer = copy.deepcopy(placed)
    newer["spec"]["containers"][0]["image"] = "a:2"
    assert admitted(newer, placed) == newer
    assert admitted(job(parallelism=3), admitted(job(parallelism=1)))["spec"]["parallelism"] == 3


def test_immutable_configuration_stays():
    stored = admitted(item("ConfigMap", data={"a": "b"}, immutable=True))
    assert "field is immutable when `immutable` is set" in refused({**stored, "data": {}}, stored).message
    assert "field is immutable when `immutable` is set" in refused({**stored, "immutable": False}, stored).message
    assert "field is immutable" in refused({**item("Secret"), "type": "x"}, admitted(item("Secret"))).message


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("500m", 0.5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2Gi", 2**31),
        ("1k", 1000),
        ("1e3", 1000),
        ("-1", -1),
        (0.25, 0.25),
    ],
)
def test_quantities_are_read_as_kubernetes_does(text, number):
    assert quantity(text) == pytest.approx(number) if isinstance(number, float) else quantity(text) == number


@given(st.text(max_size=6))
def test_a_quantity_is_a_number_or_an_error(text):
    try:
        assert quantity(text).is_finite()
    except ValueError as error:
        assert "quantities must match" in str(error)  # noqa: PT017


# What the server has set before admission.
FIXED = [("kind",), ("apiVersion",), ("metadata",), ("metadata", "name"), ("metadata", "namespace")]


def places(value, path=()):
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*path, key))


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from([None, {}, [], "", "x", 0, -1, 10**12, 1.5, True, {"a": {}}, [{}], "delete"]))
def test_whatever_is_sent_is_admitted_or_refused_and_never_falls_over(data, value):
    made = copy.deepcopy(data.draw(st.sampled_from([*EVERYTHING, *map(admitted, EVERYTHING)])))
    resource = resource_of(made)
    stored = admitted(made) if data.draw(st.booleans()) else None
    *above, last = data.draw(st.sampled_from([path for path in places(made) if path and path not in FIXED]))
    holder = made
    for key in above:
        holder = holder[key]
    if value == "delete":
        del holder[last]
    else:
        holder[last] = value
    with contextlib.suppress(ApiError):
        admit(resource, "UPDATE" if stored else "CREATE", made, stored, field_validation="Warn")

"""The door of the API: what comes in, in which form, and what is said of the rest."""

import copy

import pytest

from localcluster.api.admission import admit
from localcluster.api.errors import ApiError
from localcluster.api.resources import GATEWAY_CLASSES, HTTP_ROUTES, INFERENCE_SERVICES, SERVING_RUNTIMES
from localcluster.builtin import builtin_objects

MODE = "serving.kserve.io/deploymentMode"


def route(*rules, **spec):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {**spec, **({"rules": list(rules)} if rules else {})},
    }


def service(**predictor):
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "shop", "namespace": "shop", "annotations": {MODE: "Standard"}},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "tiny"}}, **predictor}},
    }


def runtime(name):
    formats = [{"name": "tiny", "autoSelect": True, "priority": 1}]
    spec = {"supportedModelFormats": formats, "protocolVersions": ["v2"], "containers": [{"name": "kserve-container"}]}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    }


def refusal(*arguments, **options):
    with pytest.raises(ApiError) as caught:
        admit(*arguments, **options)
    return caught.value


def test_a_route_gets_the_defaults_without_which_a_gateway_routes_nothing():
    admitted = admit(
        HTTP_ROUTES, "CREATE", route({"backendRefs": [{"name": "a", "port": 80}]}, parentRefs=[{"name": "g"}])
    )
    assert admitted.item["spec"] == {
        "parentRefs": [{"name": "g", "group": "gateway.networking.k8s.io", "kind": "Gateway"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "a", "port": 80, "weight": 1, "group": "", "kind": "Service"}],
            }
        ],
    }
    assert admit(HTTP_ROUTES, "CREATE", route()).item["spec"]["rules"] == [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
    ]


def test_a_weight_of_zero_stays_zero():
    given = route({"backendRefs": [{"name": "a", "port": 80, "weight": 0}]})
    assert admit(HTTP_ROUTES, "CREATE", given).item["spec"]["rules"][0]["backendRefs"][0]["weight"] == 0


def test_an_unknown_field_is_refused_or_dropped_with_a_warning_or_dropped():
    given = service(minReplica=1, extra={"a": 1})
    error = refusal(INFERENCE_SERVICES, "CREATE", given)
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message == (
        'strict decoding error: unknown field "spec.predictor.minReplica", unknown field "spec.predictor.extra"'
    )
    warned = admit(INFERENCE_SERVICES, "CREATE", given, field_validation="Warn")
    assert warned.warnings == ('unknown field "spec.predictor.minReplica"', 'unknown field "spec.predictor.extra"')
    ignored = admit(INFERENCE_SERVICES, "CREATE", given, field_validation="Ignore")
    assert ignored.warnings == ()
    assert warned.item == ignored.item == admit(INFERENCE_SERVICES, "CREATE", service()).item
    assert "extra" in given["spec"]["predictor"]


def test_a_wrong_value_is_told_with_its_field():
    error = refusal(HTTP_ROUTES, "CREATE", route({"matches": [{"path": {"type": "X", "value": "/"}}]}))
    assert (error.code, error.reason, error.name) == (422, "Invalid", "shop")
    message = 'Unsupported value: "X": supported values: "Exact", "PathPrefix", "RegularExpression"'
    assert [(cause.reason, cause.field, cause.message) for cause in error.causes] == [
        ("FieldValueNotSupported", "spec.rules[0].matches[0].path.type", message)
    ]
    assert error.message == (
        'HTTPRoute.gateway.networking.k8s.io "shop" is invalid: spec.rules[0].matches[0].path.type: ' + message
    )


def test_what_kserves_webhooks_refuse_is_forbidden():
    error = refusal(INFERENCE_SERVICES, "CREATE", service(minReplicas=2, maxReplicas=1))
    assert (error.code, error.reason) == (403, "Forbidden")
    assert error.message == (
        'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '
        "'MinReplicas' cannot be greater than MaxReplicas"
    )


def test_runtimes_are_compared_with_those_that_are_there():
    admit(SERVING_RUNTIMES, "CREATE", runtime("two"))
    error = refusal(SERVING_RUNTIMES, "CREATE", runtime("two"), siblings=lambda: [runtime("one")])
    assert "same priority assigned for the model format tiny in the servingruntimes one and two" in error.message


def test_storage_that_kserve_will_not_load_is_a_warning():
    model = {"modelFormat": {"name": "tiny"}, "storageUri": "ftp://a"}
    (warning,) = admit(INFERENCE_SERVICES, "CREATE", service(model=model)).warnings
    assert warning.startswith("spec.predictor.model.storageUri: storageUri, must be one of:")


def test_a_status_is_held_against_its_schema_and_against_no_rule_of_the_spec():
    stored = service(minReplicas=2, maxReplicas=1)
    written = {**stored, "status": {"deploymentMode": "Standard", "any": {"thing": 1}}}
    assert admit(INFERENCE_SERVICES, "UPDATE", written, stored, subresource="status").item["status"]["any"]
    parent = {"parentRef": {"name": "g"}, "controllerName": "traefik.io/gateway-controller", "conditions": []}
    error = refusal(HTTP_ROUTES, "UPDATE", {**route(), "status": {"parents": [parent]}}, route(), subresource="status")
    assert error.causes[0].field == "status.parents[0].conditions"


def test_a_service_that_is_being_deleted_may_lose_its_finalizer_whatever_it_says():
    stored = service(minReplicas=2, maxReplicas=1)
    stored["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    admit(INFERENCE_SERVICES, "UPDATE", stored, stored)


def test_the_controller_of_a_gateway_class_stays():
    stored = admit(GATEWAY_CLASSES, "CREATE", builtin_objects(8080)[1]).item
    moved = copy.deepcopy(stored)
    moved["spec"]["controllerName"] = "example.com/other"
    error = refusal(GATEWAY_CLASSES, "UPDATE", moved, stored)
    assert error.causes[0].message == 'Invalid value: "example.com/other": Value is immutable'
    assert stored["status"]["conditions"][0]["message"] == "Waiting for controller"


@pytest.mark.parametrize("field_validation", ["Strict", "Warn", "Ignore"])
def test_what_is_no_object_at_all_is_refused_and_never_falls_over(field_validation):
    for broken in ([], "text", 1, {"predictor": []}, {"predictor": {"containers": {}}}, {"predictor": {"model": 1}}):
        given = {**service(), "spec": broken}
        assert refusal(INFERENCE_SERVICES, "CREATE", given, field_validation=field_validation).code in {400, 422}

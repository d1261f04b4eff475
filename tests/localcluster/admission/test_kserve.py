"""KServe's webhooks: each rule that was ported, with KServe's message."""

import copy

import pytest

from localcluster.admission.kserve import (
    fill_inference_service,
    inference_service_problems,
    serving_runtime_problems,
    storage_uri_problem,
)

MODE = "serving.kserve.io/deploymentMode"
CLASS = "serving.kserve.io/autoscalerClass"


def service(predictor=None, name="shop", annotations=None, **spec):
    made = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {MODE: "Standard", **(annotations or {})}},
        "spec": {"predictor": predictor or {"model": {"modelFormat": {"name": "tiny"}}}, **spec},
    }
    fill_inference_service(made)
    return made


def model(**fields):
    return {"model": {"modelFormat": {"name": "tiny"}, "storageUri": "s3://a"}, **fields}


def custom(**fields):
    return {"containers": [{"name": "kserve-container", "image": "a:1", **fields}]}


def metric(**fields):
    return {"autoScaling": {"metrics": [fields]}}


def keda_cpu(**target):
    return metric(type="Resource", resource={"name": "cpu", "target": target})


HPA, KEDA, KNATIVE = {CLASS: "hpa"}, {CLASS: "keda"}, {MODE: "Knative"}
PREDICTOR = (
    "exactly one of [Name, SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM, Paddle, "
    "Model, StorageUris, StorageContainerName, WorkerSpec, PodSpec] must be specified in PredictorSpec"
)
CANARY = {"predictor": {"name": "next", **model()}, "trafficPercent": 10}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (service(name="9shop"), 'the InferenceService "9shop" is invalid: a InferenceService name must consist of'),
        (service(annotations={CLASS: "magic"}), "[magic] is not a supported autoscaler class type"),
        (service({"minReplicas": 1}), PREDICTOR),
        (service({**model(), **custom()}), PREDICTOR),
        (service(transformer={"minReplicas": 1}), "exactly one of [PodSpec, ComponentExtensionSpec] must be"),
        (service(explainer={"minReplicas": 1}), "exactly one of [ART, PodSpec, ComponentExtensionSpec] must be"),
        (service(model(minReplicas=-1)), "'MinReplicas' cannot be less than 0"),
        (service(model(maxReplicas=-1)), "'MaxReplicas' cannot be less than 0"),
        (service(model(minReplicas=3, maxReplicas=2)), "'MinReplicas' cannot be greater than MaxReplicas"),
        (service(model(containerConcurrency=-1)), "parallelism cannot be less than 0"),
        (service(model(logger={"url": "http://a"})), "invalid logger type"),
        (service(model(logger={"mode": "all", "storage": {"path": "a"}})), "invalid logger storage configuration"),
        (service({"model": {"name": "a", "modelFormat": {"name": "b"}}}), "the 'name' field is not allowed in"),
        (service(custom(env=[{"name": "PROTOCOL", "value": "v3"}])), "invalid protocol v1, v2. Must be one of [v3]"),
        (
            service(custom(env=[{"name": "PYTHONPATH"}])),
            'the InferenceService "shop" is invalid: setting PYTHONPATH in',
        ),
        (
            service(
                {
                    "containers": [
                        *custom()["containers"],
                        {"name": "transformer-container", "env": [{"name": "STORAGE_URI", "value": "s3://a"}]},
                    ]
                }
            ),
            "storage uri should not be specified in transformer container",
        ),
        (service(model(scaleMetric="rps"), annotations=HPA), "[rps] is not a supported metric"),
        (service(model(scaleTarget=0), annotations=HPA), "the target utilization percentage should be a [1-100]"),
        (service(model(scaleTarget=101), annotations=HPA), "the target utilization percentage should be a [1-100]"),
        (service(model(scaleMetric="memory", scaleTarget=0), annotations=HPA), "the target memory should be greater"),
        (service(model(**metric(type="External")), annotations=HPA), "invalid HPA metric source type with value [Ex"),
        (service(model(**metric(type="Resource")), annotations=HPA), "metricSpec.Resource is not set for resource"),
        (service(model(scaleMetric="cpu"), annotations=KEDA), "ScaleMetric is not supported for KEDA"),
        (service(model(**keda_cpu(type="Value")), annotations=KEDA), "the cpu target value type should be Utilization"),
        (service(model(**keda_cpu(type="Utilization")), annotations=KEDA), "the AverageUtilization type should be set"),
        (
            service(model(**keda_cpu(type="Utilization", averageUtilization=101)), annotations=KEDA),
            "the target utilization percentage should be a [1-100] integer",
        ),
        (
            service(
                model(
                    **metric(
                        type="Resource",
                        resource={"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Ki"}},
                    )
                ),
                annotations=KEDA,
            ),
            "the memory target value should be greater than 1 MiB",
        ),
        (service(model(**metric(type="External")), annotations=KEDA), "metricSpec.External is not set for external"),
        (
            service(model(**metric(type="External", external={"metric": {}, "target": {}})), annotations=KEDA),
            "the query should not be empty",
        ),
        (
            service(
                model(**metric(type="PodMetric", podmetric={"metric": {"query": "q"}, "target": {}})), annotations=KEDA
            ),
            "the target threshold value should not be empty",
        ),
        (
            service(model(deploymentStrategy={}), annotations=KNATIVE),
            "customizing deploymentStrategy is only supported",
        ),
        (service(model(scaleMetric="cpu"), annotations=KNATIVE), "[cpu] is not a supported metric"),
        (service(model(scaleMetric="rps", scaleTarget=0), annotations=KNATIVE), "the target for rps should be greater"),
        (
            service(model(), canary=[CANARY], annotations=KNATIVE),
            "canary is only supported in Standard deployment mode",
        ),
        (service(model(), canary=[CANARY, CANARY]), 'canary predictor.name "next" is duplicated'),
        (service(model(name="next"), canary=[CANARY]), 'canary predictor.name "next" conflicts with stable predictor'),
        (service(model(), canary=[{**CANARY, "trafficPercent": 101}]), "sum of canary trafficPercent values (101)"),
        (
            service(model(), canary=[{**CANARY, "predictor": {**CANARY["predictor"], "maxReplicas": 2}}]),
            'canary "next" must not set maxReplicas (canary uses fixed replicas)',
        ),
        (
            service(model(), canary=[{**CANARY, "predictor": {**CANARY["predictor"], "minReplicas": 2}}]),
            'canary "next" minReplicas (2) must not exceed stable predictor minReplicas (1)',
        ),
    ],
)
def test_what_kserves_webhook_refuses_is_refused_in_its_words(made, message):
    assert next(inference_service_problems(made)).startswith(message)


@pytest.mark.parametrize(
    "made",
    [
        service(),
        service(model(minReplicas=0, maxReplicas=0)),
        service(model(scaleMetric="memory", scaleTarget=80), annotations=HPA),
        service(model(**keda_cpu(type="Utilization", averageUtilization=80)), annotations=KEDA),
        service(model(scaleMetric="concurrency", scaleTarget=5), annotations=KNATIVE),
        service({**model(), "containers": [{"name": "sidecar", "image": "a:1"}]}),
        service(custom(env=[{"name": "PROTOCOL", "value": "v2"}]), transformer=custom(), explainer={"art": {}}),
        service(model(), canary=[CANARY]),
    ],
)
def test_what_it_takes_passes(made):
    assert list(inference_service_problems(made)) == []


def test_the_deployment_mode_of_a_service_stays():
    old = service()
    old["status"] = {"deploymentMode": "Standard"}
    new = service(annotations=KNATIVE)
    assert next(inference_service_problems(new, old)) == (
        "update rejected: deploymentMode cannot be changed from 'Standard' to 'Knative'"
    )
    assert list(inference_service_problems(service(), {**old, "status": {"deploymentMode": "RawDeployment"}})) == []


def test_a_predictors_name_changes_only_with_its_model():
    message = "predictor.name change requires a model change (e.g. storageUri)"
    assert next(inference_service_problems(service(model(name="b")), service(model(name="a")))) == message
    moved = service({"name": "b", "model": {"modelFormat": {"name": "tiny"}, "storageUri": "s3://b"}})
    assert list(inference_service_problems(moved, service(model(name="a")))) == []


def test_defaults_are_those_of_kserves_webhook():
    old = service({"containers": [{"image": "a:1"}]}, annotations={MODE: "RawDeployment"})
    assert old["metadata"]["annotations"][MODE] == "Standard"
    assert old["spec"]["predictor"]["containers"][0]["name"] == "kserve-container"
    parts = service(transformer={"containers": [{"name": "mine"}]}, explainer={"containers": [{}]})["spec"]
    assert [parts[role]["containers"][0]["name"] for role in ("transformer", "explainer")] == ["kserve-container"] * 2
    assert service({"sklearn": {"storageUri": "s3://a"}})["spec"]["predictor"] == {
        "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://a"}
    }
    assert service({"onnx": {"storageUri": "s3://a"}})["spec"]["predictor"]["model"]["protocolVersion"] == "v2"
    beside = service({"containers": [{"name": "own"}, {"name": "other"}]})
    assert [part["name"] for part in beside["spec"]["predictor"]["containers"]] == ["own", "other"]
    again = copy.deepcopy(beside)
    fill_inference_service(again)
    assert again == beside


@pytest.mark.parametrize(
    "uri", ["s3://a/b", "pvc://a", "hf://a/b", "oci+native://a", "/local/path", "https://x.blob.core.windows.net/a/b"]
)
def test_storage_that_kserve_knows(uri):
    assert storage_uri_problem(uri) == ""


def test_storage_that_kserve_does_not_know():
    assert storage_uri_problem("ftp://a").startswith("storageUri, must be one of: [gs://, s3://, pvc://, file://, ")
    assert storage_uri_problem("ftp://a").endswith("StorageUri [ftp://a] is not supported")


def runtime(name="one", formats=None, protocols=("v2",), kind="ServingRuntime", **spec):
    metadata = {"name": name, **({"namespace": "shop"} if kind == "ServingRuntime" else {})}
    formats = formats or [{"name": "tiny", "version": "1", "autoSelect": True, "priority": 1}]
    return {
        "kind": kind,
        "metadata": metadata,
        "spec": {"supportedModelFormats": formats, "protocolVersions": list(protocols), "containers": [], **spec},
    }


def test_two_runtimes_of_one_priority_are_refused():
    message = "same priority assigned for the model format tiny in the "
    (found,) = serving_runtime_problems(runtime("two"), [runtime(), runtime("two")])
    assert found == f"{message}servingruntimes one and two in namespace shop"
    kind = "ClusterServingRuntime"
    assert next(serving_runtime_problems(runtime("two", kind=kind), [runtime(kind=kind)])) == (
        f"{message}clusterservingruntimes one and two"
    )
    other = [{"name": "tiny", "version": "1", "autoSelect": True, "priority": 2}]
    passive = [{"name": "tiny", "version": "1", "priority": 1}]
    for unlike in (
        {"protocols": ["v1"]},
        {"disabled": True},
        {"formats": other},
        {"formats": passive},
        {"multiModel": True},
    ):
        assert list(serving_runtime_problems(runtime("two"), [runtime(**unlike)])) == []
        assert list(serving_runtime_problems(runtime("two", **unlike), [runtime()])) == []


def test_one_format_has_one_priority_in_a_runtime():
    formats = [{"name": "tiny", "version": str(n), "autoSelect": True, "priority": n} for n in (1, 2)]
    assert next(serving_runtime_problems(runtime(formats=formats))) == (
        "different priorities assigned for the model format tiny under the servingruntime one"
    )


def test_a_runtime_keeps_its_workers_and_takes_no_pythonpath():
    old = runtime(workerSpec={})
    message = "the ServingRuntime one is invalid: removing workerSpec where it already exists is not allowed"
    assert list(serving_runtime_problems(runtime(), [], old)) == [message]
    container = {"name": "kserve-container", "env": [{"name": "PYTHONPATH", "value": "/x"}]}
    (found,) = serving_runtime_problems(runtime(containers=[container]))
    assert found == (
        'the ServingRuntime "one" is invalid: setting PYTHONPATH in container "kserve-container" is not allowed for '
        "security reasons"
    )

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.inference_service import components, fill_placeholders, merge_containers, select_runtime
from localcluster.render import ManifestError, Objects, render


@pytest.fixture
def objects(overlay):
    return Objects(tuple(copy.deepcopy(list(render(overlay)))))


@pytest.fixture
def service(objects):
    return objects.get("InferenceService", "shop")


def runtime(
    name, *, kind="ServingRuntime", priority=None, protocols=("v1",), created="", fmt="tiny", auto=True, **spec
):
    entry = {"name": fmt, "autoSelect": auto, **({"priority": priority} if priority else {})}
    metadata = {"name": name, **({"creationTimestamp": created} if created else {})}
    if kind == "ServingRuntime":
        metadata["namespace"] = "shop"
    container = {"name": "kserve-container", "command": ["python"], "image": "x:1"}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"supportedModelFormats": [entry], "protocolVersions": list(protocols), "containers": [container]}
        | spec,
    }


def picked(service, *runtimes, **model):
    chosen = select_runtime(service, {"modelFormat": {"name": "tiny"}, **model}, Objects(tuple(runtimes)))
    return chosen["metadata"]["name"]


def test_a_service_becomes_its_components_in_order(service, objects):
    parts = components(service, objects)
    assert [part.service for part in parts] == ["shop-predictor", "shop-transformer", "shop-explainer"]
    assert {part.storage_uri for part in parts} == {"pvc://models/shop"}


def test_custom_containers_get_the_flags_that_kserve_appends(service, objects):
    service["spec"]["transformer"]["containers"][0]["args"] = ["--model_name=till", "--http_port=9000"]
    service["spec"]["transformer"]["containerConcurrency"] = 4
    _, transformer, explainer = components(service, objects)
    assert transformer.container["args"] == [
        *("--model_name=till", "--http_port=9000"),
        *("--predictor_host", "shop-predictor.shop", "--workers", "4"),
    ]
    assert explainer.container["args"] == [
        "--model_dir=/mnt/models",
        *("--model_name", "shop", "--predictor_host", "shop-predictor.shop", "--http_port", "8080"),
    ]


def test_a_predictor_is_its_runtime_with_the_models_part_laid_over(service, objects):
    service["spec"]["predictor"]["model"] |= {
        "args": ["--max_rows=5"],
        "env": [{"name": "A", "value": "1"}],
        "resources": {"limits": {"cpu": "2"}},
    }
    container = components(service, objects)[0].container
    assert container["args"][0] == "--model_name=till"
    assert container["args"][-1] == "--max_rows=5"
    assert {"name": "A", "value": "1"} in container["env"]
    assert container["resources"] == {"limits": {"cpu": "2"}}
    assert "modelFormat" not in container


def test_env_merges_by_name_and_one_variable_keeps_one_source():
    base = {"env": [{"name": "A", "valueFrom": {"x": 1}}, {"name": "B", "value": "b"}]}
    merged = merge_containers(base, {"env": [{"name": "A", "value": "a"}, {"name": "C", "value": "c"}]})
    assert merged["env"] == [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "b"},
        {"name": "C", "value": "c"},
    ]
    assert base["env"][0] == {"name": "A", "valueFrom": {"x": 1}}


containers = st.fixed_dictionaries(
    {},
    optional={
        "args": st.lists(st.text(max_size=5), max_size=4),
        "env": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("ABC"), "value": st.text(max_size=3)}),
            max_size=3,
            unique_by=lambda entry: entry["name"],
        ),
        "image": st.text(max_size=5),
    },
)


@given(containers, containers)
def test_merging_appends_args_and_the_models_part_wins(base, patch):
    merged = merge_containers(base, patch)
    assert merged["args"] == base.get("args", []) + patch.get("args", [])
    env = {entry["name"]: entry["value"] for entry in merged.get("env", [])}
    both = [*base.get("env", []), *patch.get("env", [])]
    assert env == {entry["name"]: entry["value"] for entry in both}
    assert merged.get("image") == patch.get("image", base.get("image"))


def test_runtimes_are_picked_in_kserves_order(service):
    assert picked(service, runtime("b"), runtime("a")) == "a"
    assert picked(service, runtime("a"), runtime("b", priority=2), runtime("c", priority=1)) == "b"
    assert picked(service, runtime("a", created="2026-01-01"), runtime("b", created="2026-02-01")) == "b"
    assert picked(service, runtime("a", protocols=["v2"]), runtime("b", protocols=["v1", "v2"])) == "b"
    assert picked(service, runtime("a", kind="ClusterServingRuntime", priority=9), runtime("b")) == "b"
    assert picked(service, runtime("a", protocols=["v1"]), runtime("b", protocols=["v2"]), protocolVersion="v2") == "b"
    assert picked(service, runtime("a"), runtime("b", auto=False), runtime="b") == "b"


@pytest.mark.parametrize(
    ("candidate", "model", "reason"),
    [
        (runtime("a", fmt="other"), {}, "does not support modelFormat tiny"),
        (runtime("a", auto=False), {}, "by autoSelect"),
        (runtime("a", disabled=True), {}, "is disabled"),
        (runtime("a", multiModel=True), {}, "many models"),
        (runtime("a", protocols=["v2"]), {}, "does not support protocol v1"),
        (runtime("a"), {"runtime": "a", "protocolVersion": "v2"}, "does not support protocol v2"),
        (runtime("a"), {"runtime": "z"}, "is named 'z'"),
        (runtime("a"), {"modelFormat": {"name": "tiny", "version": "3"}}, "tiny 3"),
    ],
)
def test_a_runtime_that_does_not_fit_is_refused_with_the_reason(service, candidate, model, reason):
    with pytest.raises(ManifestError, match=reason):
        picked(service, candidate, **model)


def test_runtimes_of_other_namespaces_do_not_count(service):
    foreign = runtime("a")
    foreign["metadata"]["namespace"] = "elsewhere"
    with pytest.raises(ManifestError, match="there are no runtimes"):
        picked(service, foreign)


def test_placeholders_are_filled_from_the_services_metadata():
    metadata = {"name": "n", "namespace": "s", "labels": {"model": "m"}, "annotations": {"a_b": "x"}}
    value = {"args": ["{{.Name}}/{{ .Namespace }}", "--m={{.Labels.model}}{{.Annotations.a_b}}"], "n": 1}
    assert fill_placeholders(value, metadata, "r") == {"args": ["n/s", "--m=mx"], "n": 1}


@pytest.mark.parametrize("text", ["{{.Labels.gone}}", "{{if .Name}}x{{end}}", "{{.Spec}}", "{{}}"])
def test_placeholders_that_have_no_value_are_refused(text):
    with pytest.raises(ManifestError, match="ServingRuntime/r"):
        fill_placeholders([text], {"name": "n", "labels": {}}, "ServingRuntime/r")


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_placeholders_stays_as_it_is(text):
    assert fill_placeholders(text, {"name": "n"}, "r") == text


def plant(service, path, value):
    *parents, last = path.split(".")
    node = service
    for part in parents:
        node = node[int(part)] if part.isdecimal() else node[part]
    node[last] = value


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("metadata.annotations", {}, "deploymentMode"),
        ("metadata.annotations", {"serving.kserve.io/deploymentMode": "Knative"}, "only Standard"),
        ("spec.canary", [], "spec.canary"),
        ("spec.predictor.canaryTrafficPercent", 10, "canaryTrafficPercent"),
        ("spec.predictor.logger", {"mode": "all"}, "logger"),
        ("spec.predictor.workerSpec", {}, "workerSpec"),
        ("spec.predictor.containers", [{"name": "side"}], "more than one container"),
        ("spec.predictor.model.storage", {"path": "x"}, "use storageUri"),
        ("spec.transformer.containers", [], "exactly one container"),
        ("spec.transformer.model", {}, "only a predictor"),
        ("spec.explainer.art", {}, "spec.explainer.art"),
        ("spec.transformer.containers.0.args", ["{{.Name}}"], "within a ServingRuntime only"),
    ],
)
def test_what_cannot_be_run_here_is_refused_not_ignored(service, objects, path, value, reason):
    plant(service, path, value)
    with pytest.raises(ManifestError, match=reason):
        components(service, objects)


def test_planning_leaves_the_manifests_as_they_are(service, objects):
    before = copy.deepcopy(objects.items)
    components(service, objects)
    assert objects.items == before

"""The official Python client against the API server."""

import threading

import pytest
import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException

ROUTES = {"group": "gateway.networking.k8s.io", "version": "v1", "plural": "httproutes", "namespace": "default"}
_WAIT_S = 20


@pytest.fixture(scope="module")
def api(cluster):
    # Nothing of the client's ends its pool of connections but this.
    with config.new_client_from_config(str(cluster.kubeconfig)) as connected:
        yield connected


@pytest.fixture
def core(api):
    return client.CoreV1Api(api)


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"of": name}), data=data)


def deployment(name):
    container = client.V1Container(
        name="web", image="web:1", ports=[client.V1ContainerPort(container_port=80)], args=["--fast"]
    )
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": name}), spec=client.V1PodSpec(containers=[container])
    )
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(
            replicas=1, selector=client.V1LabelSelector(match_labels={"app": name}), template=template
        ),
    )


def route(name, weight):
    backends = [{"name": "stable", "port": 80, "weight": 100 - weight}, {"name": "new", "port": 80, "weight": weight}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"rules": [{"backendRefs": backends}]},
    }


def test_typed_objects_make_the_whole_round(api):
    apps = client.AppsV1Api(api)
    made = apps.create_namespaced_deployment("default", deployment("typed"))
    assert (made.metadata.generation, made.spec.template.spec.containers[0].args) == (1, ["--fast"])
    made.spec.replicas = 3
    made = apps.replace_namespaced_deployment("typed", "default", made)
    assert made.metadata.generation == 2
    # The client sends a strategic merge patch.
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
    made = apps.patch_namespaced_deployment("typed", "default", change)
    assert (made.spec.template.spec.containers[0].image, made.spec.replicas) == ("web:2", 3)
    assert made.spec.template.spec.containers[0].args == ["--fast"]
    scale = apps.patch_namespaced_deployment_scale("typed", "default", {"spec": {"replicas": 5}})
    assert scale.spec.replicas == 5
    made = apps.patch_namespaced_deployment_status("typed", "default", {"status": {"readyReplicas": 4}})
    assert (made.status.ready_replicas, made.spec.replicas, made.metadata.generation) == (4, 5, 4)
    assert [item.metadata.name for item in apps.list_deployment_for_all_namespaces(label_selector="!x").items]
    apps.delete_namespaced_deployment("typed", "default", propagation_policy="Foreground")
    with pytest.raises(ApiException) as caught:
        apps.read_namespaced_deployment("typed", "default")
    assert caught.value.status == 404


def test_an_old_version_is_refused(core):
    mine = core.create_namespaced_config_map("default", config_map("versions", a="1"))
    yours = core.read_namespaced_config_map("versions", "default")
    mine.data = {"a": "2"}
    core.replace_namespaced_config_map("versions", "default", mine)
    yours.data = {"a": "3"}
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("versions", "default", yours)
    assert (caught.value.status, yaml.safe_load(caught.value.body)["reason"]) == (409, "Conflict")


def test_lists_come_in_pages(core):
    for index in range(5):
        core.create_namespaced_config_map("default", config_map(f"page-{index}"))
    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map("default", limit=2, _continue=token)
        assert len(page.items) <= 2
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    assert [name for name in names if name.startswith("page-")] == [f"page-{index}" for index in range(5)]
    assert len(names) == len(set(names))


def test_a_watch_goes_on_where_a_list_ended(core):
    listed = core.list_namespaced_config_map("default", label_selector="of=watched")
    seen = []
    watcher = watch.Watch()

    def follow():
        version = listed.metadata.resource_version
        selected = {"label_selector": "of=watched", "resource_version": version, "timeout_seconds": _WAIT_S}
        for event in watcher.stream(core.list_namespaced_config_map, "default", **selected):
            seen.append((event["type"], event["object"].data))
            if event["type"] == "DELETED":
                watcher.stop()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    core.create_namespaced_config_map("default", config_map("watched", a="1"))
    core.create_namespaced_config_map("default", config_map("unwatched", a="1"))
    core.patch_namespaced_config_map("watched", "default", {"data": {"a": "2"}})
    core.delete_namespaced_config_map("watched", "default")
    thread.join(_WAIT_S)
    assert seen == [("ADDED", {"a": "1"}), ("MODIFIED", {"a": "2"}), ("DELETED", {"a": "2"})]


def test_a_watch_ends_after_its_time(core):
    events = list(watch.Watch().stream(core.list_namespace, timeout_seconds=1))
    assert {event["object"].metadata.name for event in events} >= {"default", "kube-system"}


def test_custom_objects_merge(api):
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(body=route("custom", 0), **ROUTES)
    # The client sends a merge patch, so the list is replaced.
    made = custom.patch_namespaced_custom_object(name="custom", body={"spec": route("custom", 25)["spec"]}, **ROUTES)
    assert [backend["weight"] for backend in made["spec"]["rules"][0]["backendRefs"]] == [75, 25]
    status = {"parents": []}
    custom.patch_namespaced_custom_object_status(name="custom", body={"status": status}, **ROUTES)
    read = custom.get_namespaced_custom_object(name="custom", **ROUTES)
    assert read["status"] == status
    assert [item["metadata"]["name"] for item in custom.list_namespaced_custom_object(**ROUTES)["items"]] == ["custom"]
    custom.delete_namespaced_custom_object(name="custom", **ROUTES)


def test_custom_objects_are_checked(api):
    wrong = route("wrong", 25)
    wrong["spec"]["rules"][0]["backendRefs"][0]["weight"] = "much"
    with pytest.raises(ApiException) as caught:
        client.CustomObjectsApi(api).create_namespaced_custom_object(body=wrong, **ROUTES)
    answer = yaml.safe_load(caught.value.body)
    assert (answer["code"], answer["reason"]) == (422, "Invalid")
    assert "weight" in answer["message"]


def test_the_dynamic_client_finds_kinds_and_applies(api):
    found = dynamic.DynamicClient(api)
    config_maps = found.resources.get(api_version="v1", kind="ConfigMap")
    routes = found.resources.get(api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute")
    assert routes.name == "httproutes"
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "1"}}
    made = config_maps.server_side_apply(body=item, name="dynamic", namespace="default", field_manager="alice")
    assert made.metadata.managedFields[0].manager == "alice"
    item["data"]["a"] = "2"
    with pytest.raises(dynamic.exceptions.ConflictError) as caught:
        config_maps.server_side_apply(body=item, name="dynamic", namespace="default", field_manager="bob")
    assert b'conflict with \\"alice\\": .data.a' in caught.value.body
    patched = config_maps.patch(
        body={"data": {"a": None, "b": "1"}},
        name="dynamic",
        namespace="default",
        content_type="application/merge-patch+json",
    )
    assert patched.data.to_dict() == {"b": "1"}
    assert routes.get(namespace="default").kind == "HTTPRouteList"


def test_manifests_are_created_from_files(api, core, tmp_path):
    path = tmp_path / "all.yaml"
    items = [api.sanitize_for_serialization(config_map(f"file-{index}")) for index in range(2)]
    path.write_text(yaml.safe_dump_all({"apiVersion": "v1", "kind": "ConfigMap", **item} for item in items))
    utils.create_from_yaml(api, str(path))
    assert core.read_namespaced_config_map("file-1", "default").metadata.uid
    with pytest.raises(utils.FailToCreateError, match="already exists"):
        utils.create_from_yaml(api, str(path))


def test_of_two_who_want_a_lease_one_gets_it(api):
    leases = client.CoordinationV1Api(api)
    spec = client.V1LeaseSpec(holder_identity="nobody", lease_duration_seconds=15)
    leases.create_namespaced_lease("default", client.V1Lease(metadata=client.V1ObjectMeta(name="lock"), spec=spec))
    together = threading.Barrier(5)
    won = []

    def try_it(name):
        lease = leases.read_namespaced_lease("lock", "default")
        together.wait(_WAIT_S)
        lease.spec.holder_identity = name
        try:
            leases.replace_namespaced_lease("lock", "default", lease)
        except ApiException as error:
            if error.status != 409:
                raise
        else:
            won.append(name)

    threads = [threading.Thread(target=try_it, args=(f"candidate-{index}",)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_WAIT_S)
    assert len(won) == 1
    assert [leases.read_namespaced_lease("lock", "default").spec.holder_identity] == won


def test_one_leader_is_elected(cluster):
    config.load_kube_config(str(cluster.kubeconfig))
    try:
        alice, bob = candidate("alice"), candidate("bob")
        assert alice.try_acquire_or_renew()
        assert not bob.try_acquire_or_renew()
        assert alice.try_acquire_or_renew()
    finally:
        client.Configuration.set_default(None)


def candidate(name):
    from kubernetes.leaderelection import electionconfig, leaderelection

    # Sets up logging for everybody when it is imported.
    from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

    return leaderelection.LeaderElection(
        electionconfig.Config(
            ConfigMapLock("election", "default", name),
            lease_duration=15,
            renew_deadline=10,
            retry_period=5,
            onstarted_leading=print,
            onstopped_leading=None,
        )
    )

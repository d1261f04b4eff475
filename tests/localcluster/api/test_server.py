"""Objects over HTTP, as any client of Kubernetes writes and reads them."""

import base64
import stat
import time

import httpx
import pytest

from localcluster.api import auth, kubeconfig
from localcluster.api.persistence import Database, PersistenceError

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
POD_SPEC = {"containers": [{"name": "c", "image": "i:1"}]}


def deployment(name, **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": POD_SPEC}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


def test_an_object_gets_what_the_server_gives_and_is_read_back(api):
    made = api.config_map("born", {"a": "1"})
    metadata = made["metadata"]
    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")
    assert metadata["namespace"] == "default"
    assert len(metadata["uid"]) == 36
    assert time.time() - time.mktime(time.strptime(metadata["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")) < 86400
    assert int(metadata["resourceVersion"]) > 0
    assert api.ok("GET", f"{MAPS}/born") == made


def test_errors_are_status_objects(api):
    api.config_map("twice")
    again = api("POST", MAPS, {"metadata": {"name": "twice"}})
    missing = api("GET", f"{MAPS}/missing")
    nowhere = api("POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "x"}})
    unknown = api("GET", "/apis/example.org/v1/things")
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    assert missing.json()["message"] == 'configmaps "missing" not found'
    assert missing.json()["details"] == {"name": "missing", "kind": "configmaps"}
    assert (nowhere.status_code, nowhere.json()["message"]) == (404, 'namespaces "nowhere" not found')
    assert unknown.json()["message"] == "the server could not find the requested resource"
    assert api("POST", f"{MAPS}/twice", {}).status_code == 405


def test_generated_names_are_new_each_time(api):
    names = {api.ok("POST", MAPS, {"metadata": {"generateName": "many-"}})["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("many-") and len(name) == 10 for name in names)


@pytest.mark.parametrize(
    ("metadata", "code", "says"),
    [
        ({}, 422, "name or generateName is required"),
        ({"name": "Upper"}, 422, "lower case"),
        ({"name": "../etc"}, 422, "lower case"),
        ({"name": "x", "namespace": "other"}, 400, "does not match the namespace"),
        ({"name": "x", "resourceVersion": "5"}, 400, "resourceVersion should not be set"),
        ({"name": "x", "labels": {"a": 1}}, 422, "strings"),
        ({"name": "x", "labels": {"a": "no spaces"}}, 422, "label"),
        ({"name": "x", "annotations": {"a": "x" * (257 << 10)}}, 422, "Too long"),
        ({"name": "x", "ownerReferences": [{"name": "y"}]}, 422, "ownerReferences[0].uid"),
        ({"name": "x", "finalizers": "all"}, 422, "finalizers"),
    ],
)
def test_metadata_that_the_server_cannot_rely_on_is_refused(api, metadata, code, says):
    response = api("POST", MAPS, {"metadata": metadata})
    assert (response.status_code, response.json()["kind"]) == (code, "Status")
    assert says in response.json()["message"]


def test_an_update_of_an_old_version_conflicts_and_changes_nothing(api):
    made = api.config_map("raced", {"a": "1"})
    first = {**made, "data": {"a": "2"}}
    assert api.ok("PUT", f"{MAPS}/raced", first)["data"] == {"a": "2"}
    second = api("PUT", f"{MAPS}/raced", {**made, "data": {"a": "3"}})
    assert (second.status_code, second.json()["reason"]) == (409, "Conflict")
    assert "the object has been modified" in second.json()["message"]
    other = {"metadata": {"uid": "someone-else"}, "data": {"a": "4"}}
    assert api("PATCH", f"{MAPS}/raced", other, patch="merge-patch+json").status_code == 409
    assert api.ok("GET", f"{MAPS}/raced")["data"] == {"a": "2"}


def test_a_write_that_changes_nothing_keeps_the_resource_version(api):
    made = api.config_map("same", {"a": "1"})
    version = made["metadata"]["resourceVersion"]
    put = api.ok("PUT", f"{MAPS}/same", made)
    merged = api.ok("PATCH", f"{MAPS}/same", {"data": {"a": "1"}}, patch="merge-patch+json")
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "same"}, "data": {"a": "1"}}
    once = api.ok("PATCH", f"{MAPS}/same", applied, patch="apply-patch+yaml", fieldManager="me")
    time.sleep(1.1)
    twice = api.ok("PATCH", f"{MAPS}/same", applied, patch="apply-patch+yaml", fieldManager="me")
    assert put["metadata"]["resourceVersion"] == merged["metadata"]["resourceVersion"] == version
    assert twice["metadata"]["resourceVersion"] == once["metadata"]["resourceVersion"]


def test_the_generation_counts_changes_of_the_spec_only(api):
    path = f"{DEPLOYMENTS}/generations"
    api.ok("POST", DEPLOYMENTS, deployment("generations"))

    def generation(body, sub=""):
        return api.ok("PATCH", path + sub, body, patch="merge-patch+json")["metadata"]["generation"]

    assert generation({"metadata": {"labels": {"a": "b"}}}) == 1
    assert generation({"status": {"replicas": 1}}, "/status") == 1
    assert generation({"spec": {"replicas": 4}}) == 2
    assert generation({"spec": {"replicas": 4}}) == 2


def test_status_and_the_rest_are_written_at_their_own_endpoints(api):
    path = f"{DEPLOYMENTS}/two-halves"
    made = api.ok("POST", DEPLOYMENTS, {**deployment("two-halves", replicas=2), "status": {"replicas": 9}})
    assert "replicas" not in made.get("status", {})
    both = {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}, "status": {"replicas": 7}}
    status = api.ok("PATCH", f"{path}/status", both, patch="merge-patch+json")
    assert (status["status"], status["spec"]["replicas"], status["metadata"].get("labels")) == (
        {"replicas": 7},
        2,
        None,
    )
    main = api.ok("PATCH", path, {**both, "status": {"replicas": 8}}, patch="merge-patch+json")
    assert (main["status"], main["spec"]["replicas"], main["metadata"]["labels"]) == ({"replicas": 7}, 3, {"a": "b"})


def test_scale_reads_and_writes_the_number_of_replicas(api):
    path = f"{DEPLOYMENTS}/scaled"
    api.ok("POST", DEPLOYMENTS, deployment("scaled", replicas=2))
    scale = api.ok("GET", f"{path}/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=scaled")
    patched = api.ok("PATCH", f"{path}/scale", {"spec": {"replicas": 5}}, patch="merge-patch+json")
    assert patched["spec"]["replicas"] == api.ok("GET", path)["spec"]["replicas"] == 5
    assert api("PUT", f"{path}/scale", scale).status_code == 409
    assert api("PATCH", f"{path}/scale", {"spec": {"replicas": -1}}, patch="merge-patch+json").status_code == 422


def test_lists_come_by_labels_fields_and_pages(api):
    for number in range(7):
        labels = {"number": str(number), **({"even": "yes"} if number % 2 == 0 else {})}
        api.config_map(f"paged-{number}", labels={"test": "pages", **labels})

    def names(selector="test=pages", **params):
        return [item["metadata"]["name"] for item in api.ok("GET", MAPS, labelSelector=selector, **params)["items"]]

    assert names() == [f"paged-{number}" for number in range(7)]
    assert names("test=pages,even") == names("test==pages,even in (yes, no)") == [f"paged-{n}" for n in (0, 2, 4, 6)]
    assert names("test=pages,!even") == names("test=pages,even!=yes") == [f"paged-{n}" for n in (1, 3, 5)]
    assert names("test in (pages),number notin (0,1,2,3,4,5)") == ["paged-6"]
    assert names(fieldSelector="metadata.name=paged-3,metadata.namespace=default") == ["paged-3"]
    assert names(fieldSelector="metadata.name!=paged-3,metadata.namespace!=default") == []
    for bad in ("a b", "a in b", "=x", "a=b=c", "!a=b"):
        assert api("GET", MAPS, labelSelector=bad).status_code == 400, bad
    assert "not supported" in api("GET", MAPS, fieldSelector="data.a=b").json()["message"]

    seen, token = [], ""
    while True:
        page = api.ok("GET", MAPS, labelSelector="test=pages", limit=3, **({"continue": token} if token else {}))
        seen += [item["metadata"]["name"] for item in page["items"]]
        assert len(page["items"]) <= 3
        if not (token := page["metadata"].get("continue", "")):
            break
    assert seen == names()
    assert api("GET", MAPS, **{"continue": "rubbish"}).status_code == 400


def test_a_collection_is_deleted_by_selector(api):
    for name in ("gone-1", "gone-2", "stays"):
        api.config_map(name, labels={"sort": name.split("-", maxsplit=1)[0]})
    deleted = api.ok("DELETE", MAPS, labelSelector="sort=gone")
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["gone-1", "gone-2"]
    assert api("GET", f"{MAPS}/gone-1").status_code == 404
    assert api("GET", f"{MAPS}/stays").status_code == 200


def test_a_dry_run_answers_as_if_and_changes_nothing(api):
    made = api.config_map("dry", {"a": "1"})
    before = api.ok("GET", MAPS)["metadata"]["resourceVersion"]
    new = api("POST", MAPS, {"metadata": {"name": "never"}}, dryRun="All")
    patched = api.ok("PATCH", f"{MAPS}/dry", {"data": {"a": "2"}}, patch="merge-patch+json", dryRun="All")
    deleted = api.ok("DELETE", f"{MAPS}/dry", dryRun="All")
    assert (new.status_code, patched["data"], deleted["status"]) == (201, {"a": "2"}, "Success")
    assert api("GET", f"{MAPS}/never").status_code == 404
    assert api.ok("GET", f"{MAPS}/dry") == made
    assert api.ok("GET", MAPS)["metadata"]["resourceVersion"] == before


def test_string_data_of_a_secret_goes_into_its_data(api):
    path = "/api/v1/namespaces/default/secrets"
    body = {"metadata": {"name": "plain"}, "data": {"b": "Mg=="}, "stringData": {"a": "1"}}
    made = api.ok("POST", path, body)
    assert made["data"] == {"a": base64.b64encode(b"1").decode(), "b": "Mg=="}
    assert "stringData" not in made
    patched = api.ok("PATCH", f"{path}/plain", {"stringData": {"b": "3"}}, patch="merge-patch+json")
    assert patched["data"]["b"] == base64.b64encode(b"3").decode()


def test_unknown_fields_are_warned_of_in_headers_whatever_they_are_called(api):
    body = {"metadata": {"name": "odd"}, '\u0001\r\nSet-Cookie: \u00e9"': 1}
    warned = api("POST", MAPS, body, fieldValidation="Warn", dryRun="All")
    strict = api("POST", MAPS, body, fieldValidation="Strict", dryRun="All")
    silent = api("POST", MAPS, body, fieldValidation="Ignore", dryRun="All")
    assert (warned.status_code, strict.status_code, silent.status_code) == (201, 400, 201)
    assert warned.headers["Warning"].startswith('299 - "unknown field')
    assert "Warning" not in silent.headers
    assert "Set-Cookie" not in warned.headers


def test_two_versions_of_a_kind_are_one_object(api):
    group = "/apis/gateway.networking.k8s.io"
    spec = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
        "to": [{"group": "", "kind": "Service"}],
    }
    old, new = (f"{group}/{version}/namespaces/default/referencegrants" for version in ("v1beta1", "v1"))
    made = api.ok("POST", old, {"metadata": {"name": "grant"}, "spec": spec})
    read = api.ok("GET", f"{new}/grant")
    assert (made["apiVersion"], read["apiVersion"]) == (
        "gateway.networking.k8s.io/v1beta1",
        "gateway.networking.k8s.io/v1",
    )
    assert made["metadata"]["uid"] == read["metadata"]["uid"]
    assert {item["apiVersion"] for item in api.ok("GET", old)["items"]} == {made["apiVersion"]}


def test_bodies_are_json_or_yaml_and_nothing_else(api):
    def post(content, media, path=MAPS, method="POST"):
        return api.http.request(method, path, content=content, headers={"Content-Type": media})

    assert post("metadata: {name: yaml}\ndata: {day: '2026-01-01'}", "application/yaml").status_code == 201
    assert post(b"k8s\0...", "application/vnd.kubernetes.protobuf").status_code == 415
    assert "kubectl apply -f" in post(b"k8s\0...", "application/vnd.kubernetes.protobuf").json()["message"]
    assert post("a=b", "application/x-www-form-urlencoded").status_code == 415
    assert post("{}", "application/strategic-merge-patch+json", f"{MAPS}/yaml").status_code == 405
    patch = post(
        "{}",
        "application/strategic-merge-patch+json",
        "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/x",
        "PATCH",
    )
    assert patch.status_code == 415
    assert "strategic" not in patch.json()["message"]
    assert post("x" * (4 << 20), "application/json").status_code == 413


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{",
        b"\xff\xfe",
        b'{"metadata": null}',
        b'{"metadata": {"name": 1}}',
        b'{"metadata": {"name": "x", "labels": []}}',
        b'{"metadata": {"name": "x", "managedFields": 3}}',
        b'{"metadata": {"name": "x"}, "kind": {}}',
        b'{"metadata": {"name": "x"}, "kind": "Pod"}',
        b'{"metadata": {"name": "x"}, "data": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"metadata": {"name": "\\ud800"}}',
    ],
)
def test_what_is_no_object_is_refused(api, content):
    response = api.http.post(MAPS, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}
    assert response.json()["kind"] == "Status"


@pytest.mark.parametrize(
    "content",
    [
        "a: &x [1, 1]\nb: &y [*x, *x]\nc: [*y, *y]",
        "? [a, b]\n: c",
        "1: 2",
        "a: .nan",
        "a: 999999999999999999999999999999",
        "a: !!python/object:os.system {}",
        "a: !!binary aGVsbG8=",
        "a: [",
        "\x00",
        "[" * 5000,
    ],
)
def test_yaml_that_is_more_than_json_is_refused(api, content):
    response = api.http.post(MAPS, content=content, headers={"Content-Type": "application/yaml"})
    assert response.status_code == 400, response.text


def test_only_who_has_the_token_is_answered(api):
    with httpx.Client(base_url=api.server.url) as anyone:
        assert [anyone.get(path).text for path in ("/healthz", "/livez", "/readyz")] == ["ok"] * 3
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic " + "x" * 20}):
            refused = anyone.get("/api/v1/namespaces", headers=header)
            assert (refused.status_code, refused.json()["reason"]) == (401, "Unauthorized")
        assert anyone.get("/version").status_code == 401
        assert anyone.post(MAPS, json={"metadata": {"name": "intruder"}}).status_code == 401
    assert api("GET", f"{MAPS}/intruder").status_code == 404


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
    ],
)
def test_web_pages_are_refused_even_with_the_token(api, headers, code):
    assert api.http.get("/api/v1/namespaces", headers=headers).status_code == code


def test_a_server_without_a_token_does_not_start():
    with pytest.raises(ValueError, match="token"):
        auth.Guard("")


def test_the_kubeconfig_is_private_and_never_the_users_own(api, tmp_path, monkeypatch):
    path = tmp_path / "here" / "kubeconfig"
    kubeconfig.write(path, server=api.server.secure_url, token="t", certificate=api.server.certificate)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["kubeconfig"]
    monkeypatch.setenv("HOME", str(tmp_path))
    own = tmp_path / ".kube" / "config"
    with pytest.raises(ValueError, match="your own"):
        kubeconfig.write(own, server=api.server.secure_url, token="t")
    with pytest.raises(ValueError, match="TLS"):
        kubeconfig.write(path, server=api.server.url, token="t")
    assert not own.exists()


def test_https_serves_the_same_by_a_certificate_that_can_be_checked(api, tmp_path):
    import ssl

    context = ssl.create_default_context(cadata=api.server.certificate.decode())
    with httpx.Client(base_url=api.server.secure_url, headers=api.http.headers, verify=context) as secure:
        assert secure.get("/api/v1/namespaces/default").json() == api.ok("GET", "/api/v1/namespaces/default")
    with pytest.raises(httpx.ConnectError), httpx.Client() as trusting_others:
        trusting_others.get(api.server.secure_url + "/healthz")


def test_everything_on_disk_is_private(serve, tmp_path):
    folder = tmp_path / "cluster"
    with serve(folder) as api:
        api.config_map("x")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        certificate = api.server.certificate
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}, modes
    with serve(folder) as api:
        assert api.server.certificate == certificate


def test_a_damaged_a_newer_and_a_busy_database_are_named(serve, tmp_path):
    import sqlite3

    damaged, newer = tmp_path / "damaged", tmp_path / "newer"
    damaged.mkdir()
    (damaged / "objects.db").write_bytes(b"this is no database " * 100)
    with pytest.raises(PersistenceError, match=r"damaged.*move it away"), serve(damaged):
        pass
    newer.mkdir()
    with sqlite3.connect(newer / "objects.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(PersistenceError, match="newer version"), serve(newer):
        pass
    with serve(tmp_path / "busy"), pytest.raises(PersistenceError, match="another cluster"):
        Database(tmp_path / "busy")


def test_tables_and_metadata_come_on_demand(api):
    api.config_map("shown", {"a": "1"})

    def get(path, kind):
        accept = f"application/json;as={kind};v=v1;g=meta.k8s.io,application/json"
        return api.http.get(path, headers={"Accept": accept}).json()

    table = get(MAPS, "Table")
    assert table["kind"] == "Table"
    assert "shown" in [row["cells"][0] for row in table["rows"]]
    assert get(f"{MAPS}/shown", "Table")["rows"][0]["cells"][0] == "shown"
    part = get(f"{MAPS}/shown", "PartialObjectMetadata")
    assert (part["kind"], "data" in part, part["metadata"]["name"]) == ("PartialObjectMetadata", False, "shown")
    assert get(MAPS, "PartialObjectMetadataList")["kind"] == "PartialObjectMetadataList"
    assert get(f"{MAPS}/missing", "Table")["kind"] == "Status"
    only_protobuf = api.http.get(MAPS, headers={"Accept": "application/vnd.kubernetes.protobuf"})
    assert only_protobuf.status_code == 406


def test_reads_and_patches_are_quick(api):
    api.config_map("quick", {"a": "0"})

    def work_s(act):
        """What one takes, client and server together, however busy the machine is with other things."""
        start = time.process_time()
        for number in range(100):
            act(number)
        return (time.process_time() - start) / 100

    read = work_s(lambda _: api.ok("GET", f"{MAPS}/quick"))
    write = work_s(lambda n: api.ok("PATCH", f"{MAPS}/quick", {"data": {"a": f"{n}x"}}, patch="merge-patch+json"))
    assert read < 0.004
    assert write < 0.006

"""Nothing that a client sends makes the server fail."""

# ruff: noqa: SIM905  # words read better than a list of ninety quoted lines

import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = "/api/v1/namespaces/default"
PATHS = [
    f"{ROOT}/configmaps",
    f"{ROOT}/configmaps/target",
    f"{ROOT}/pods/target",
    f"{ROOT}/pods/target/status",
    f"{ROOT}/pods/target/log",
    f"{ROOT}/secrets",
    f"{ROOT}/services",
    f"{ROOT}/events",
    "/api/v1/namespaces",
    "/api/v1/namespaces/victim",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apps/v1/namespaces/default/deployments/target",
    "/apis/apps/v1/namespaces/default/deployments/target/scale",
    "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices",
    "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/target",
    "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes/target/status",
    "/openapi/v3",
    "/version",
]
MEDIA = [
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]
FIELDS = """apiVersion kind metadata name namespace uid labels annotations finalizers ownerReferences managedFields
fieldsV1 operation manager time resourceVersion generation deletionTimestamp creationTimestamp spec status data
stringData replicas selector matchLabels template containers env value image ports containerPort predictor model
modelFormat rules matches op path from $patch $retainKeys f:spec preconditions propagationPolicy""".split()
TEXTS = """target default v1 apps/v1 ConfigMap Pod Deployment InferenceService Apply Update replace merge add remove
copy test /spec /metadata/name /metadata/labels/a - 1 Orphan x/y\u00e9 2026-01-01T00:00:00Z""".split()
QUERY = """watch labelSelector fieldSelector limit continue resourceVersion resourceVersionMatch timeoutSeconds dryRun
sendInitialEvents allowWatchBookmarks fieldManager fieldValidation force gracePeriodSeconds propagationPolicy
includeObject tailLines follow container previous pretty timeout""".split()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=15,
)
metadata = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[3:19], values))
named = metadata.map(lambda made: {**made, "name": "target"})
objects = st.fixed_dictionaries(
    {"metadata": metadata | named}, optional=dict.fromkeys(("spec", "status", "data", "stringData", "kind"), values)
)
operations = st.lists(
    st.fixed_dictionaries(
        {}, optional={key: values | st.sampled_from(TEXTS) for key in ("op", "path", "from", "value")}
    ),
    max_size=4,
)
queries = st.dictionaries(
    st.sampled_from(QUERY),
    st.sampled_from(["1", "true", "0", "a=b", "x in (y)", "-1", "All"]) | st.text(max_size=6),
    max_size=3,
)


@pytest.fixture(scope="module")
def targets(api):
    """Something for the requests to hit."""
    pod = {"containers": [{"name": "c", "image": "i:1"}]}
    api.config_map("target", {"a": "1"})
    api.ok("POST", f"{ROOT}/pods", {"metadata": {"name": "target"}, "spec": pod})
    labels = {"a": "b"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    api.ok("POST", PATHS[10], {"metadata": {"name": "target"}, "spec": spec})
    predictor = {"model": {"modelFormat": {"name": "xgboost"}, "storageUri": "pvc://a/b"}}
    api.ok("POST", PATHS[13], {"metadata": {"name": "target"}, "spec": {"predictor": predictor}})
    return api


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE"]),
    path=st.sampled_from(PATHS),
    body=objects | operations | values,
    media=st.sampled_from(MEDIA),
    query=queries,
    accept=st.sampled_from(
        ["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "*/*", "text/html", ";,="]
    ),
)
def test_no_request_is_answered_by_an_internal_error(targets, method, path, body, media, query, accept):
    if query.get("watch", "0") != "0" or "follow" in query:
        query = {**query, "timeoutSeconds": "1", "watch": "0", "follow": "0"}
    if method == "DELETE" and path.endswith("target"):
        # The others need it.
        query = {**query, "dryRun": "All"}
    headers = {"Content-Type": media, "Accept": accept}
    response = targets.http.request(method, path, content=json.dumps(body), params=query, headers=headers)
    assert response.status_code < 500, (response.text, method, path, body, media, query)
    if response.status_code >= 400:
        assert response.json()["kind"] == "Status"
        assert response.json()["message"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.lists(
        st.sampled_from(["api", "apis", "v1", "namespaces", "default", "pods", "", "..", "%00", "%ff", "%2F", "é", "x"])
    )
)
def test_no_path_is_answered_by_an_internal_error(targets, path):
    lines = [
        f"GET /{'/'.join(path)} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Authorization: {token(targets)}",
    ]
    answer = raw(targets, "\r\n".join([*lines, "", ""]).encode(), complete=True)
    assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.0 4")), answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.sampled_from(
        [b"User-Agent", b"Accept", b"Origin", b"Host", b"Authorization", b"Content-Type", b"Content-Length"]
    ),
    value=st.binary(max_size=20),
)
def test_no_header_is_answered_by_an_internal_error(targets, header, value):
    authorized = f"Authorization: {token(targets)}".encode()
    lines = [b"PATCH /api/v1/namespaces/default/configmaps/target HTTP/1.1", authorized]
    if header != b"Host":
        lines.append(b"Host: localhost")
    answer = raw(targets, b"\r\n".join([*lines, b"Connection: close", header + b": " + value, b"", b"{}"]))
    assert not answer.startswith(b"HTTP/1.1 5"), answer


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 5000,
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_no_burden(targets, request_):
    assert b" 500 " not in raw(targets, request_)
    assert targets("GET", "/version").status_code == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Encoding: gzip\r\nContent-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"zz\r\n"),
        (b"Content-Length: 500", b"{"),
        (b"Content-Length: -1", b"{}"),
    ],
)
def test_a_body_that_cannot_be_read_is_the_clients_mistake(targets, caplog, headers, body):
    start = (
        b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    )
    authorized = f"Authorization: {token(targets)}".encode()
    answer = raw(targets, start + authorized + b"\r\n" + headers + b"\r\n\r\n" + body)
    assert answer == b"" or b" 400 " in answer.split(b"\r\n", maxsplit=1)[0], answer
    assert not [record for record in caplog.records if record.name == "localcluster"]


def token(api):
    return api.http.headers["Authorization"]


def raw(api, content, *, complete=False):
    """What the server says to bytes; who sends no complete request says that nothing more comes."""
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=3) as connection:
        connection.sendall(content)
        if not complete:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(1 << 16):
                answer += piece
        except ConnectionResetError:
            pass
        return answer

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcluster.api import resources
from localcluster.api.jsonpath import find
from localcluster.api.printing import age, cells
from localcluster.api.resources import RESOURCES
from localcluster.api.tables import table

BORN = "2026-01-01T00:00:00Z"


def row(resource, item, include="Metadata"):
    """Cells by column, and the row."""
    made = table(resource, [item], list_metadata={"resourceVersion": "7"}, include=include)
    names = [column["name"] for column in made["columnDefinitions"]]
    return dict(zip(names, made["rows"][0]["cells"], strict=True)), made["rows"][0]


def item(name="web", **fields):
    return {"metadata": {"name": name, "creationTimestamp": BORN}, **fields}


def pod(*statuses, phase="Running", **metadata):
    containers = [{"name": status["name"]} for status in statuses] or [{"name": "web"}]
    made = item(spec={"containers": containers}, status={"phase": phase, "containerStatuses": list(statuses)})
    made["metadata"] |= metadata
    return made


def container(name="web", *, ready=False, restarts=0, last=None, **state):
    return {"name": name, "ready": ready, "restartCount": restarts, "state": state, "lastState": last or {}}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: f"{resource.plural}.{resource.version}")
def test_every_column_has_a_cell_even_of_an_empty_object(resource):
    shown, found = row(resource, item())
    assert shown["Name"] == "web"
    assert found["object"]["kind"] == "PartialObjectMetadata"
    assert found["object"]["metadata"]["name"] == "web"
    # What is computed is shown.
    computed = {column.name for column in resource.columns if not column.path}
    assert computed <= set(cells(resource.plural))
    assert set(cells(resource.plural)) <= {column.name for column in resource.columns}


@pytest.mark.parametrize(
    ("made", "ready", "status"),
    [
        (pod(phase="Pending"), "0/1", "Pending"),
        (pod(container(waiting={"reason": "ContainerCreating"}), phase="Pending"), "0/1", "ContainerCreating"),
        (pod(container(ready=True, running={})), "1/1", "Running"),
        (pod(container("a", ready=True, running={}), container("b", running={})), "1/2", "Running"),
        (pod(container(waiting={"reason": "CrashLoopBackOff"})), "0/1", "CrashLoopBackOff"),
        (pod(container(terminated={"exitCode": 3, "reason": "Error"}), phase="Failed"), "0/1", "Error"),
        (pod(container(terminated={"exitCode": 3}), phase="Failed"), "0/1", "ExitCode:3"),
        (pod(container(terminated={"exitCode": 137, "signal": 9}), phase="Failed"), "0/1", "Signal:9"),
        (pod(container(terminated={"exitCode": 0, "reason": "Completed"}), phase="Succeeded"), "0/1", "Completed"),
        (pod(container(ready=True, running={}), deletionTimestamp=BORN), "1/1", "Terminating"),
        (
            pod(container("a", terminated={"exitCode": 0, "reason": "Completed"}), container("b", running={})),
            "0/2",
            "NotReady",
        ),
    ],
)
def test_a_pods_state_is_told_as_kubectl_users_know_it(made, ready, status):
    shown, _ = row(resources.PODS, made)
    assert (shown["Ready"], shown["Status"]) == (ready, status)


def test_restarts_tell_when_the_last_one_was():
    ended = (datetime.now(UTC) - timedelta(seconds=200)).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown, _ = row(resources.PODS, pod(container(restarts=3, last={"terminated": {"finishedAt": ended}})))
    assert shown["Restarts"].startswith("3 (3m2")
    assert row(resources.PODS, pod(container()))[0]["Restarts"] == "0"


@pytest.mark.parametrize(
    ("resource", "fields", "expected"),
    [
        (
            resources.SERVICES,
            {
                "spec": {
                    "type": "NodePort",
                    "clusterIP": "127.9.128.1",
                    "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}],
                    "selector": {"app": "web"},
                }
            },
            {
                "Type": "NodePort",
                "Cluster-IP": "127.9.128.1",
                "External-IP": "<none>",
                "Port(s)": "80:30080/TCP,53/UDP",
                "Selector": "app=web",
            },
        ),
        (
            resources.DEPLOYMENTS,
            {
                "spec": {
                    "replicas": 3,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}
                    },
                },
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            },
            {
                "Ready": "1/3",
                "Up-to-date": 2,
                "Available": 1,
                "Containers": "a,b",
                "Images": "a:1,b:1",
                "Selector": "app=web",
            },
        ),
        (
            resources.JOBS,
            {
                "spec": {"completions": 2},
                "status": {
                    "succeeded": 2,
                    "startTime": BORN,
                    "completionTime": "2026-01-01T00:01:01Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            {"Status": "Complete", "Completions": "2/2", "Duration": "61s"},
        ),
        (
            resources.CRON_JOBS,
            {
                "spec": {
                    "schedule": "@daily",
                    "suspend": False,
                    "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}},
                },
                "status": {"active": [{}]},
            },
            {"Schedule": "@daily", "Suspend": False, "Active": 1, "Last Schedule": "<none>", "Containers": "a"},
        ),
        (
            resources.HORIZONTAL_POD_AUTOSCALERS,
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                    "minReplicas": 1,
                    "maxReplicas": 3,
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                        }
                    ],
                }
            },
            {"Reference": "Deployment/web", "Targets": "cpu: <unknown>/80%", "MinPods": 1, "MaxPods": 3},
        ),
        (
            resources.ENDPOINT_SLICES,
            {
                "addressType": "IPv4",
                "ports": [{"port": 8080}],
                "endpoints": [{"addresses": [f"127.9.1.{index}"]} for index in range(1, 6)],
            },
            {"Ports": "8080", "Endpoints": "127.9.1.1,127.9.1.2,127.9.1.3 + 2 more..."},
        ),
        (
            resources.EVENTS,
            {
                "involvedObject": {"kind": "Pod", "name": "web"},
                "type": "Warning",
                "reason": "BackOff",
                "message": "restarting",
            },
            {"Object": "pod/web", "Type": "Warning", "Reason": "BackOff", "Message": "restarting"},
        ),
        (
            resources.INFERENCE_SERVICES,
            {
                "status": {
                    "url": "http://web.localhost",
                    "conditions": [{"type": "IngressReady", "status": "False"}, {"type": "Ready", "status": "True"}],
                    "components": {"predictor": {"traffic": [{"latestRevision": True, "percent": 100}]}},
                }
            },
            {"URL": "http://web.localhost", "Ready": "True", "Prev": None, "Latest": 100},
        ),
        (
            resources.GATEWAYS,
            {
                "spec": {"gatewayClassName": "traefik"},
                "status": {
                    "addresses": [{"value": "127.0.0.1"}],
                    "conditions": [{"type": "Programmed", "status": "True"}],
                },
            },
            {"Class": "traefik", "Address": "127.0.0.1", "Programmed": "True"},
        ),
        (resources.HTTP_ROUTES, {"spec": {"hostnames": ["a", "b"]}}, {"Hostnames": '["a","b"]'}),
        (resources.CONFIG_MAPS, {"data": {"a": "1"}, "binaryData": {"b": ""}}, {"Data": 2}),
        (resources.SECRETS, {"type": "Opaque", "data": {"a": "1"}}, {"Type": "Opaque", "Data": 1}),
        (
            resources.PERSISTENT_VOLUME_CLAIMS,
            {"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}, "status": {"phase": "Bound"}},
            {"Status": "Bound", "Access Modes": "RWO,ROX"},
        ),
        (resources.NETWORK_POLICIES, {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, {"Pod-Selector": "a=b"}),
        (resources.LEASES, {"spec": {"holderIdentity": "alice"}}, {"Holder": "alice"}),
    ],
    ids=lambda value: value.plural if hasattr(value, "plural") else "",
)
def test_columns_are_those_that_kubectl_users_know(resource, fields, expected):
    shown, _ = row(resource, item(**fields))
    assert {name: shown[name] for name in expected} == expected


def test_name_comes_first_and_age_before_what_only_wide_shows():
    made = table(resources.PODS, [], list_metadata={"resourceVersion": "7"}, include="Metadata")
    shown = [(column["name"], column["priority"]) for column in made["columnDefinitions"]]
    assert [name for name, _ in shown] == ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node"]
    assert [name for name, priority in shown if priority] == ["IP", "Node"]
    assert (made["metadata"], made["rows"]) == ({"resourceVersion": "7"}, [])
    events = table(resources.EVENTS, [], list_metadata={}, include="None")
    assert [column["name"] for column in events["columnDefinitions"]][:2] == ["Last Seen", "Type"]


def test_rows_carry_as_much_of_their_object_as_is_asked_for():
    made = item(spec={"replicas": 1})
    assert "object" not in row(resources.DEPLOYMENTS, made, "None")[1]
    assert "spec" not in row(resources.DEPLOYMENTS, made, "Metadata")[1]["object"]
    whole = row(resources.DEPLOYMENTS, made, "Object")[1]["object"]
    assert whole == {"apiVersion": "apps/v1", "kind": "Deployment", **made}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # As the API machinery's own tests have them.
        (0, "0s"),
        (1, "1s"),
        (70, "70s"),
        (119, "119s"),
        (120, "2m"),
        (190, "3m10s"),
        (600, "10m"),
        (70 * 60, "70m"),
        (180 * 60, "3h"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (8 * 86_400 + 1, "8d"),
        (9 * 86_400, "9d"),
        (365 * 86_400, "365d"),
        (2 * 365 * 86_400, "2y"),
        (2 * 365 * 86_400 + 86_400, "2y1d"),
        (9 * 365 * 86_400, "9y"),
    ],
)
def test_ages_are_rounded_as_by_kubernetes(seconds, expected):
    until = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert age(BORN, until.isoformat()) == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**9))
def test_an_age_is_never_empty_and_an_unknown_one_says_so(seconds):
    assert age(BORN, (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat())[-1] in "smhdy"
    assert age(None) == age("yesterday") == "<unknown>"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".a.b", [1]),
        (".a['b']", [1]),
        (".list[*].name", ["x", "y"]),
        (".list[1].name", ["y"]),
        (".list[?(@.name=='y')].value", [2]),
        ('.list[?(@.name=="z")].value', []),
        (".list[?(@.on==true)].name", ["x"]),
        (".list[?(@.value==2)].name", ["y"]),
        (".missing.more", []),
        (".a.b.c", []),
        (r".dotted\.key", ["d"]),
        (".a[*]", [1]),
        (".list[9]", []),
    ],
)
def test_a_jsonpath_finds(path, expected):
    found = {
        "a": {"b": 1},
        "list": [{"name": "x", "value": 1, "on": True}, {"name": "y", "value": 2}],
        "dotted.key": "d",
    }
    assert find(found, path) == expected


def test_a_jsonpath_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"cannot be read from '\[\?"):
        find({}, ".a[?(@.b>1)]")

"""Objects for tests of kubectl, the statuses that a controller would write, and what a running kubectl prints."""

import json
import threading
import time

import yaml

_WAIT_S = 10


def deployment(name, image="web:1", **spec):
    container = {"name": "web", "image": image, "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}
    return yaml.safe_dump(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
                **spec,
            },
        }
    )


def config_map(name, **data):
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def pod(name, phase="Running", **status):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": phase, **status},
    }


def applied(cluster, manifest, *options, **more):
    return cluster.kubectl("apply", *options, "-f", "-", stdin=manifest, **more)


def made(cluster, item):
    """Creates an object with its status."""
    applied(cluster, json.dumps(item))
    set_status(cluster, f"{item['kind'].lower()}/{item['metadata']['name']}", item["status"])


def set_status(cluster, name, status):
    cluster.kubectl("patch", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def read(cluster, name, *options):
    return json.loads(cluster.kubectl("get", name, *options, "-o", "json"))


def image(cluster, name):
    return cluster.kubectl("get", f"deploy/{name}", "-o", "jsonpath={.spec.template.spec.containers[0].image}")


def rolled_out(cluster, name, replicas):
    """Writes the status that a controller would write."""
    generation = read(cluster, f"deploy/{name}")["metadata"]["generation"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    conditions = [{"type": "Available", "status": "True"}]
    set_status(cluster, f"deploy/{name}", {"observedGeneration": generation, "conditions": conditions, **counts})


def lines(process):
    """What a process prints, as it prints it."""
    found = []

    def read_each():
        found.extend(line.rstrip("\n") for line in process.stdout)

    threading.Thread(target=read_each, daemon=True).start()
    return found


def until(condition, shown):
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {_WAIT_S} s: {shown}"
        time.sleep(0.05)

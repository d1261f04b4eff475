import asyncio
import base64
import os
import signal
import stat
import time
from pathlib import Path

import psutil

from localcluster.images import ANY_IMAGE
from tests.localcluster.pod_cluster import condition, deployment, pod, pod_cluster, state, until


def run(scenario, folder, *more, **settings):
    async def main():
        async with pod_cluster(folder, *more, **settings) as cluster:
            return await scenario(cluster)

    return asyncio.run(main())


async def ready(cluster, name="one"):
    async def there():
        item = await cluster.pod(name)
        return item if condition(item, "Ready") == "True" else None

    return await until(there)


async def waits(cluster, reason, name="one"):
    async def there():
        item = await cluster.pod(name)
        kind, detail = state(item)
        return item if kind == "waiting" and detail["reason"] == reason else None

    return await until(there)


def message(item):
    return state(item)[1].get("message", "")


def process_of(item):
    return int(item["status"]["containerStatuses"][0]["containerID"].removeprefix("process://"))


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def service(name, address, port=80, target=8080):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": address, "ports": [{"port": port, "targetPort": target}]},
    }


def test_a_pod_runs_with_an_address_of_its_own_until_it_is_deleted(tmp_path):
    async def scenario(cluster):
        await cluster.apply(pod("one", "--say=hello"))
        item = await ready(cluster)
        status = item["status"]
        assert (status["phase"], item["spec"]["nodeName"]) == ("Running", "laptop")
        assert status["podIP"].startswith(f"127.{cluster.space.octet}.")
        assert [each["status"] for each in status["conditions"]] == ["True"] * 4
        assert (await cluster.ask(status["podIP"]))["environment"]["BIND_HOST"] == status["podIP"]
        assert await cluster.kubectl("logs", "one") == "hello\n"
        assert "1/1     Running" in await cluster.kubectl("get", "pods")
        await cluster.kubectl("delete", "pod", "one")
        assert await cluster.pod("one") is None
        assert await cluster.ask(status["podIP"]) is None
        assert not psutil.pid_exists(process_of(item))
        assert [path for path in tmp_path.rglob("*") if "one.log" in path.name or path.parent.name == "pods"] == []
        told = [each["reason"] for each in await cluster.events("one")]
        assert {"Scheduled", "Pulled", "Created", "Started", "Killing"} <= set(told)

    run(scenario, tmp_path)


def test_readiness_reaches_the_api_at_once_and_a_killed_process_too(tmp_path):
    async def scenario(cluster):
        slow = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 3, "failureThreshold": 1}
        await cluster.apply(pod("one", readinessProbe=slow))
        item = await ready(cluster)
        os.kill(process_of(item), signal.SIGKILL)
        begun = time.monotonic()
        crashed = await until(lambda: lost(cluster))
        # 0.02 s on an idle machine: long before the next probe.
        assert time.monotonic() - begun < 1.5
        assert crashed["status"]["phase"] == "Running"
        again = await ready(cluster)
        (entry,) = again["status"]["containerStatuses"]
        assert (entry["restartCount"], entry["lastState"]["terminated"]["exitCode"]) == (1, 137)
        assert again["status"]["podIP"] == item["status"]["podIP"]
        await cluster.ask(again["status"]["podIP"], "/fail/readyz")
        await until(lambda: lost(cluster))
        assert state(await cluster.pod("one"))[0] == "running"

    run(scenario, tmp_path)


async def lost(cluster, name="one"):
    item = await cluster.pod(name)
    return item if condition(item, "Ready") == "False" else None


def test_a_pod_that_crashes_again_and_again_backs_off_and_keeps_its_last_log(tmp_path):
    async def scenario(cluster):
        await cluster.apply(pod("one", "--say=the model is broken", "--exit=4"))
        item = await waits(cluster, "CrashLoopBackOff")
        assert "ended with exit code 4" in message(item)
        await until(lambda: restarted(cluster, 2))
        assert "the model is broken" in await cluster.kubectl("logs", "one", "--previous")
        await until(lambda: told(cluster, "one", "BackOff"))

    run(scenario, tmp_path)


async def told(cluster, name, reason):
    return any((each["reason"], each["type"]) == (reason, "Warning") for each in await cluster.events(name))


async def restarted(cluster, times, name="one"):
    item = await cluster.pod(name)
    return item["status"]["containerStatuses"][0]["restartCount"] >= times


def test_a_missing_config_map_is_told_and_the_pod_starts_once_it_is_there(tmp_path):
    variables = [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "levels", "key": "level"}}}]

    async def scenario(cluster):
        await cluster.apply(pod("one", env=variables))
        item = await waits(cluster, "CreateContainerConfigError")
        assert message(item) == 'Pod/one: LEVEL: configmap "levels" not found; apply it'
        assert item["status"]["phase"] == "Pending"
        begun = time.monotonic()
        await cluster.apply(config_map("levels", level="debug"))
        item = await ready(cluster)
        # At once, not when it is tried again anyway.
        assert time.monotonic() - begun < 4
        assert (await cluster.ask(item["status"]["podIP"]))["environment"]["LEVEL"] == "debug"

    run(scenario, tmp_path)


def test_volumes_are_folders_that_only_their_owner_can_read(tmp_path):
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys", "namespace": "default"},
        "data": {"key": base64.b64encode(b"\xff\x00").decode()},
    }
    volumes = [
        {"name": "config", "configMap": {"name": "levels"}},
        {"name": "keys", "secret": {"secretName": "keys", "items": [{"key": "key", "path": "deep/key.bin"}]}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = [
        {"name": "config", "mountPath": "/etc/levels"},
        {"name": "keys", "mountPath": "/etc/keys/"},
        {"name": "work", "mountPath": "/work-here"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    env = [
        {"name": "PLACES", "value": "/etc/levels/level:/etc/keys/deep/key.bin:/work-here:/work-here2:/tmp"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    ]

    async def scenario(cluster):
        await cluster.apply(config_map("levels", level="debug"), secret)
        await cluster.apply(pod("one", spec={"volumes": volumes}, volumeMounts=mounts, env=env))
        item = await ready(cluster)
        told = (await cluster.ask(item["status"]["podIP"]))["environment"]
        level, key, work, other, tmp = (Path(text) for text in told["PLACES"].split(":"))
        assert (level.read_text(), key.read_bytes(), work.is_dir()) == ("debug", b"\xff\x00", True)
        assert (str(other), str(tmp)) == ("/work-here2", "/tmp")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "pods" / item["metadata"]["uid"]).stat().st_mode) == 0o700
        assert (told["NODE"], told["IP"], told["APP"]) == ("laptop", item["status"]["podIP"], "one")
        await cluster.kubectl("delete", "pod", "one")
        assert not key.exists()

    run(scenario, tmp_path)


def test_pods_beyond_the_most_wait_until_others_have_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("localcluster.controllers.pods.MOST_PODS", 2)
    monkeypatch.setattr("localcluster.controllers.pods._START_RETRY_S", 0.5)

    async def running(cluster, count):
        pods = await cluster.pods()
        ready = [each for each in pods if condition(each, "Ready") == "True"]
        return pods if (len(ready), len(pods)) == (count, 4) else None

    async def scenario(cluster):
        await cluster.apply(deployment("web", replicas=4))
        pods = await until(lambda: running(cluster, 2))
        waiting = [each for each in pods if not each["spec"].get("nodeName")]
        assert [(each["status"]["phase"], condition(each, "PodScheduled")) for each in waiting] == [
            ("Pending", "False")
        ] * 2
        assert "Too many pods" in await cluster.kubectl("describe", "pod", waiting[0]["metadata"]["name"])
        await asyncio.sleep(0.8)
        assert await running(cluster, 2)
        gone = next(each["metadata"]["name"] for each in pods if each not in waiting)
        await cluster.kubectl("delete", "pod", gone)

        async def next_runs():
            there = await running(cluster, 2)
            ready = {each["metadata"]["name"] for each in there or () if condition(each, "Ready") == "True"}
            return ready & {each["metadata"]["name"] for each in waiting}

        await until(next_runs)

    run(scenario, tmp_path)


def test_names_of_services_become_their_addresses(tmp_path):
    env = [
        {"name": "SAME", "value": "http://shop"},
        {"name": "LONG", "value": "http://shop.default.svc.cluster.local:9000/api"},
        {"name": "OTHER", "value": "http://example.com"},
        {"name": "TEXT", "value": "see http://shop"},
    ]

    async def scenario(cluster):
        await cluster.apply(pod("one", "--predictor_host", "shop.default", env=env))
        item = await waits(cluster, "ContainerCreating")
        await until(lambda: says(cluster, "waits for an address of Service default/shop"))
        # The address of another cluster, from a time when this one had its range.
        other = f"127.{cluster.space.octet % 254 + 1}.128.1"
        await cluster.apply(service("shop", other))
        await asyncio.sleep(0.3)
        assert await says(cluster, "waits for an address of Service default/shop")
        own = f"127.{cluster.space.octet}.128.1"
        await cluster.apply(service("shop", own))
        item = await ready(cluster)
        told = await cluster.ask(item["status"]["podIP"])
        assert told["options"]["predictor_host"] == f"{own}:8080"
        names = ("SAME", "LONG", "OTHER", "TEXT")
        assert [told["environment"][name] for name in names] == [
            f"http://{own}:8080",
            f"http://{own}:9000/api",
            "http://example.com",
            "see http://shop",
        ]

    run(scenario, tmp_path)


async def says(cluster, text, name="one"):
    return text in message(await cluster.pod(name))


def test_what_cannot_be_run_here_is_told_and_not_started(tmp_path):
    async def scenario(cluster):
        await cluster.apply(pod("image", image="nginx:1.27"))
        item = await waits(cluster, "ErrImageNeverPull", "image")
        assert ANY_IMAGE in message(item)
        sidecar = {"name": "agent", "image": "ml-deployment-blueprints/credit-risk"}
        two = pod("two")
        two["spec"]["containers"].append(sidecar)
        await cluster.apply(two)
        item = await waits(cluster, "CreateContainerConfigError", "two")
        assert "exactly one container" in message(item)
        await until(lambda: told(cluster, "two", "Failed"))
        await cluster.apply(pod("any", image="nginx:1.27", annotations={ANY_IMAGE: "true"}))
        await ready(cluster, "any")
        await cluster.kubectl("delete", "pod", "image", "two")

    run(scenario, tmp_path)


def test_requests_that_come_while_gateways_move_on_are_answered(tmp_path):
    async def scenario(cluster):
        await cluster.apply(pod("one", "--ignore_sigterm"))
        item = await ready(cluster)
        begun = time.monotonic()
        deleting = asyncio.create_task(cluster.kubectl("delete", "pod", "one", "--grace-period=3"))

        async def marked():
            found = await cluster.pod("one")
            return found if found["metadata"].get("deletionTimestamp") else None

        await until(marked)
        assert await cluster.ask(item["status"]["podIP"])
        await asyncio.sleep(1)
        assert await cluster.ask(item["status"]["podIP"])
        await deleting
        # It did not listen to SIGTERM.
        assert 2.5 < time.monotonic() - begun < 6
        assert not psutil.pid_exists(process_of(item))

    run(scenario, tmp_path)


def test_a_pod_deleted_by_force_ends_and_its_name_is_free(tmp_path):
    async def scenario(cluster):
        await cluster.apply(pod("one", "--ignore_sigterm"))
        first = await ready(cluster)
        await cluster.kubectl("delete", "pod", "one", "--force", "--grace-period=0")
        await cluster.apply(pod("one"))
        second = await ready(cluster)
        assert first["metadata"]["uid"] != second["metadata"]["uid"]
        assert not psutil.pid_exists(process_of(first))

    run(scenario, tmp_path)


def test_logs_are_followed_until_they_end(tmp_path):
    async def scenario(cluster):
        await cluster.apply(pod("one", "--say=hello"))
        await ready(cluster)
        following = asyncio.create_task(cluster.kubectl("logs", "-f", "one"))
        await asyncio.sleep(0.5)
        assert not following.done()
        await cluster.kubectl("delete", "pod", "one")
        assert "hello" in await asyncio.wait_for(following, 10)

    run(scenario, tmp_path)


def test_after_a_restart_of_the_cluster_pods_run_again_and_no_process_is_left(tmp_path):
    once = pod("once", spec={"restartPolicy": "Never"})

    async def first(cluster):
        await cluster.apply(pod("one"), once)
        return [await ready(cluster), await ready(cluster, "once")]

    async def second(cluster):
        item = await until(lambda: ran(cluster))
        (entry,) = item["status"]["containerStatuses"]
        assert (entry["restartCount"], "lastState" in entry) == (1, False)
        lost = await cluster.pod("once")
        assert (lost["status"]["phase"], condition(lost, "Ready")) == ("Failed", "False")
        return item

    async def ran(cluster):
        item = await cluster.pod("one")
        (entry,) = item["status"]["containerStatuses"]
        return item if entry["restartCount"] == 1 and condition(item, "Ready") == "True" else None

    begun = time.monotonic()
    before = run(first, tmp_path)
    assert time.monotonic() - begun < 10
    assert not any(psutil.pid_exists(process_of(item)) for item in before)
    after = run(second, tmp_path)
    assert after["metadata"]["uid"] == before[0]["metadata"]["uid"]
    assert not psutil.pid_exists(process_of(after))


def test_logs_of_a_finished_pod_go_with_it_after_a_restart_of_the_cluster_too(tmp_path):
    async def first(cluster):
        await cluster.apply(pod("one", "--say=done", "--exit=0", spec={"restartPolicy": "Never"}))
        await until(succeeded(cluster))

    async def second(cluster):
        assert await cluster.kubectl("logs", "one") == "done\n"
        await cluster.kubectl("delete", "pod", "one")
        await until(lambda: not list((tmp_path / "logs").rglob("one.log*")))

    def succeeded(cluster):
        async def there():
            return (await cluster.pod("one")).get("status", {}).get("phase") == "Succeeded"

        return there

    run(first, tmp_path)
    run(second, tmp_path)


def test_all_pods_end_together_however_long_one_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("localcluster.controllers.pods._SHUTDOWN_S", 1.0)
    ended = []

    async def scenario(cluster):
        spec = {"terminationGracePeriodSeconds": 60}
        await cluster.apply(*(pod(f"pod-{number}", "--ignore_sigterm", spec=spec) for number in range(3)))
        ended.extend([await ready(cluster, f"pod-{number}") for number in range(3)])
        ended.append(time.monotonic())

    run(scenario, tmp_path)
    *items, begun = ended
    assert time.monotonic() - begun < 4
    assert not any(psutil.pid_exists(process_of(item)) for item in items)


def test_a_model_comes_from_its_storage_uri_and_stays_the_same(tmp_path):
    folder = tmp_path / "volumes" / "shop" / "champion"
    uri = {"internal.serving.kserve.io/storage-initializer-sourceuri": "pvc://models/shop/champion"}

    async def scenario(cluster):
        await cluster.apply(pod("one", "--model_dir=/mnt/models", annotations=uri))
        item = await waits(cluster, "ErrModelPull")
        assert "train a model first: blueprints run shop" in message(item)
        assert condition(item, "Initialized") == "False"
        folder.mkdir(parents=True)
        item = await ready(cluster)
        told = await cluster.ask(item["status"]["podIP"])
        assert told["options"]["model_dir"] == str(folder)
        assert item["metadata"]["annotations"]["ml-deployment-blueprints/storage-resolved"] == str(folder)

    run(scenario, tmp_path, volumes={"models": tmp_path / "volumes"})


def test_a_log_that_grows_too_large_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("localcluster.controllers.pods._LOG_BYTES", 10_000)
    monkeypatch.setattr("localcluster.controllers.pods._LOG_CHECK_S", 0.2)
    code = "import time\nfor n in range(400):\n print(n, 'x' * 100, flush=True); time.sleep(0.002)\ntime.sleep(60)"

    async def scenario(cluster):
        await cluster.apply(pod("one", command=["python", "-c", code], readinessProbe=None))
        log = tmp_path / "logs" / "default" / "one.log"
        await until(log.with_name("one.log.1").exists)
        await until(lambda: log.read_text().startswith("399 ") or "\n399 " in log.read_text())
        await until(lambda: log.stat().st_size <= 10_000)
        assert "\0" not in log.read_text() + log.with_name("one.log.1").read_text()

    run(scenario, tmp_path)


def test_a_deployment_becomes_processes_at_once(tmp_path):
    async def scenario(cluster):
        # The first connections and imports take longer.
        await cluster.apply(deployment("first", replicas=1))
        await until(lambda: started(cluster, "first"))
        begun = time.monotonic()
        await cluster.apply(deployment("web", replicas=1))
        await until(lambda: started(cluster, "web"))
        assert time.monotonic() - begun < 1.5  # 0.1 s on an idle machine

    async def started(cluster, app):
        return [
            each for each in await cluster.pods(f"app={app}") if (each.get("status") or {}).get("phase") == "Running"
        ]

    run(scenario, tmp_path)

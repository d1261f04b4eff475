import asyncio
import time

from tests.localcluster.pod_cluster import condition, deployment, pod_cluster, until


def run(scenario, folder, *more, **settings):
    async def main():
        async with pod_cluster(folder, *more, **settings) as cluster:
            return await scenario(cluster)

    return asyncio.run(main())


async def rolled_out(cluster, name="web"):
    return await cluster.kubectl("rollout", "status", f"deployment/{name}", "--timeout=20s")


def model_names(asked):
    return sorted(each["options"]["model_name"] for each in asked if each)


async def ask_all(cluster):
    return [await cluster.ask(pod["status"]["podIP"]) for pod in await cluster.pods("app=web")]


def test_kubectl_rolls_out_restarts_undoes_and_scales(tmp_path):
    async def scenario(cluster):
        await cluster.apply(deployment("web", "--model_name=a"))
        assert "successfully rolled out" in await rolled_out(cluster)
        assert model_names(await ask_all(cluster)) == ["a", "a"]
        first = {pod["metadata"]["name"] for pod in await cluster.pods()}

        await cluster.apply(deployment("web", "--model_name=b"))
        await rolled_out(cluster)
        await until(lambda: gone(cluster, first))
        assert model_names(await ask_all(cluster)) == ["b", "b"]
        history = await cluster.kubectl("rollout", "history", "deployment/web")
        assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]

        await cluster.kubectl("rollout", "undo", "deployment/web")
        await rolled_out(cluster)
        assert "a" in model_names(await ask_all(cluster))
        assert len(await sets(cluster)) == 2

        before = {pod["metadata"]["name"] for pod in await cluster.pods()}
        await cluster.kubectl("rollout", "restart", "deployment/web")
        await rolled_out(cluster)
        await until(lambda: gone(cluster, before))

        await cluster.kubectl("scale", "deployment/web", "--replicas=3")
        await rolled_out(cluster)
        await cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=5s")
        assert (await cluster.deployment())["status"]["readyReplicas"] == 3
        await cluster.kubectl("delete", "deployment", "web")
        await until(lambda: nothing(cluster))

    run(scenario, tmp_path)


async def sets(cluster):
    from localcluster.api.resources import REPLICA_SETS

    return (await cluster.client.list(REPLICA_SETS, "default"))[0]


async def gone(cluster, names):
    return not names & {pod["metadata"]["name"] for pod in await cluster.pods()}


async def nothing(cluster):
    return not await cluster.pods() and not await sets(cluster)


def test_pods_that_never_become_ready_leave_the_old_ones_alone_and_the_deadline_tells(tmp_path):
    bad = {"httpGet": {"path": "/readyz", "port": 9}, "periodSeconds": 1}

    async def scenario(cluster):
        await cluster.apply(deployment("web", "--model_name=a"))
        await rolled_out(cluster)
        await cluster.apply(deployment("web", readinessProbe=bad, spec={"progressDeadlineSeconds": 1}))
        said = await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=20s", check=False)
        assert "exceeded its progress deadline" in said
        ready = [each for each in await cluster.pods() if condition(each, "Ready") == "True"]
        assert model_names([await cluster.ask(each["status"]["podIP"]) for each in ready]) == ["a", "a"]
        assert condition(await cluster.deployment(), "Available") == "True"

    run(scenario, tmp_path)


def test_nothing_rolls_while_paused(tmp_path):
    async def scenario(cluster):
        await cluster.apply(deployment("web", "--model_name=a"))
        await rolled_out(cluster)
        await cluster.kubectl("rollout", "pause", "deployment/web")
        await cluster.apply(deployment("web", "--model_name=b", replicas=3))

        async def grown():
            return (await cluster.deployment())["status"].get("readyReplicas") == 3

        await until(grown)
        assert model_names(await ask_all(cluster)) == ["a", "a", "a"]
        await cluster.kubectl("rollout", "resume", "deployment/web")
        await rolled_out(cluster)
        assert "b" in model_names(await ask_all(cluster))

    run(scenario, tmp_path)


def test_recreating_ends_the_old_pods_before_new_ones_start(tmp_path):
    recreating = {"strategy": {"type": "Recreate"}}

    async def scenario(cluster):
        await cluster.apply(deployment("web", "--model_name=a", spec=recreating))
        await rolled_out(cluster)
        await cluster.apply(deployment("web", "--model_name=b", spec=recreating))
        seen = set()

        async def done():
            pods = await cluster.pods()
            seen.add(tuple(sorted(each["metadata"]["labels"]["pod-template-hash"] for each in pods)))
            return (await cluster.deployment())["status"].get("updatedReplicas") == 2

        await until(done)
        assert all(len(set(hashes)) <= 1 for hashes in seen)

    run(scenario, tmp_path)


def test_pods_count_once_they_have_been_ready_for_long_enough(tmp_path):
    async def scenario(cluster):
        begun = time.monotonic()
        await cluster.apply(deployment(replicas=1, spec={"minReadySeconds": 2}))
        await rolled_out(cluster)
        # Times of the API are whole seconds, rounded down.
        assert time.monotonic() - begun > 1

    run(scenario, tmp_path)


def test_a_pod_that_is_deleted_is_replaced_and_old_revisions_are_forgotten(tmp_path):
    async def scenario(cluster):
        for name in "abc":
            await cluster.apply(deployment("web", f"--model_name={name}", replicas=1, spec={"revisionHistoryLimit": 1}))
            await rolled_out(cluster)

        async def two():
            return len(await sets(cluster)) == 2

        await until(two)
        (old,) = await until(lambda: only_one(cluster))
        await cluster.kubectl("delete", "pod", old["metadata"]["name"])
        (new,) = await until(lambda: only_one(cluster))
        assert new["metadata"]["name"] != old["metadata"]["name"]

    run(scenario, tmp_path)


async def only_one(cluster):
    pods = await cluster.pods()
    return pods if len(pods) == 1 and condition(pods[0], "Ready") == "True" else None


def test_what_was_left_behind_is_adopted_without_a_restart(tmp_path):
    async def scenario(cluster):
        await cluster.apply(deployment("web"))
        await rolled_out(cluster)
        (replica_set,) = await sets(cluster)
        before = {each["metadata"]["uid"] for each in await cluster.pods()}
        await cluster.kubectl("delete", "deployment", "web", "--cascade=orphan")
        assert "ownerReferences" not in (await sets(cluster))[0]["metadata"]
        # The pods' new owner need not have the old one's name.
        item = deployment("web")
        await cluster.apply({**item, "metadata": {**item["metadata"], "name": "shop"}})
        await rolled_out(cluster, "shop")
        await cluster.kubectl("delete", "replicaset", replica_set["metadata"]["name"], "--cascade=orphan")

        async def made():
            return [each for each in await sets(cluster) if (each.get("status") or {}).get("readyReplicas") == 2]

        (new,) = await until(made)
        pods = await cluster.pods()
        assert {each["metadata"]["uid"] for each in pods} == before
        assert {each["metadata"]["ownerReferences"][0]["uid"] for each in pods} == {new["metadata"]["uid"]}
        assert new["metadata"]["ownerReferences"][0]["name"] == "shop"
        await cluster.kubectl("scale", "deployment/shop", "--replicas=1")
        await until(lambda: only_one(cluster))

    run(scenario, tmp_path)


def test_why_pods_cannot_be_created_is_told(tmp_path, monkeypatch):
    from localcluster.api.errors import ApiError
    from localcluster.api.resources import PODS

    async def scenario(cluster):
        create = cluster.client.create

        async def refuse(resource, item):
            if resource == PODS:
                raise ApiError(422, "Invalid", "pods are refused today")
            return await create(resource, item)

        monkeypatch.setattr(cluster.client, "create", refuse)
        await cluster.apply(deployment(replicas=1))

        async def told():
            return condition(await cluster.deployment(), "ReplicaFailure") == "True"

        await until(told)
        monkeypatch.undo()
        await rolled_out(cluster)
        assert condition(await cluster.deployment(), "ReplicaFailure") == ""

    run(scenario, tmp_path)

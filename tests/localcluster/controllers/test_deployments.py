import asyncio
import time

from tests.localcluster.pod_cluster import deployment, pod_cluster, until


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


def test_a_deployment_becomes_a_process_at_once(tmp_path):
    async def scenario(cluster):
        begun = time.time()
        await cluster.apply(deployment(replicas=1))

        async def started():
            return [p for p in await cluster.pods() if (p.get("status") or {}).get("phase") == "Running"]

        await until(started)
        assert time.time() - begun < 0.6

    run(scenario, tmp_path)

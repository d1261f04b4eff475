import asyncio
import time

from tests.localcluster.pod_cluster import condition, pod, pod_cluster, until


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


def test_a_pod_runs_with_an_address_of_its_own_until_it_is_deleted(tmp_path):
    async def scenario(cluster):
        begun = time.monotonic()
        await cluster.apply(pod("one", "--say=hello"))
        item = await ready(cluster)
        assert time.monotonic() - begun < 3
        status = item["status"]
        assert (status["phase"], item["spec"]["nodeName"]) == ("Running", "laptop")
        assert status["podIP"].startswith(f"127.{cluster.space.octet}.1.")
        assert (await cluster.ask(status["podIP"]))["environment"]["BIND_HOST"] == status["podIP"]
        assert await cluster.kubectl("logs", "one") == "hello\n"
        await cluster.kubectl("delete", "pod", "one")
        assert await cluster.pod("one") is None
        assert await cluster.ask(status["podIP"]) is None

    run(scenario, tmp_path)

import asyncio

from localcluster.api.resources import CONFIG_MAPS, EVENTS
from localcluster.api.server import ApiServer
from localcluster.controllers.client import Client
from localcluster.controllers.recorder import Recorder
from tests.localcluster.pod_cluster import TOKEN, until


def test_what_repeats_is_one_event_with_a_count_and_a_lost_namespace_stops_nothing(tmp_path):
    async def scenario():
        async with ApiServer(tmp_path, token=TOKEN) as api, Client(api.url, TOKEN, "test") as client:
            recorder = Recorder(client)
            running = asyncio.create_task(recorder.run())
            thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
            thing = await client.create(CONFIG_MAPS, thing)
            lost = {**thing, "metadata": {**thing["metadata"], "namespace": "gone", "uid": "another"}}
            for regarding in (thing, lost, thing):
                recorder.record(regarding, "Changed", "something", warning=True)
            recorder.record(thing, "Changed", "something else")

            async def told():
                items, _ = await client.list(EVENTS, "default")
                return sorted((each["message"], each["type"], each["count"]) for each in items)

            async def all_told():
                return await told() == [("something", "Warning", 2), ("something else", "Normal", 1)]

            await until(all_told)
            (first, *_), _ = await client.list(EVENTS, "default")
            await client.delete(EVENTS, first["metadata"]["name"], "default")
            recorder.record(thing, first["reason"], first["message"])

            async def again():
                return len(await told()) == 2

            await until(again)
            running.cancel()

    asyncio.run(scenario())

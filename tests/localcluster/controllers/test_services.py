"""With the real API server; pods are set by hand."""

import asyncio
import contextlib

import pytest

from localcluster.addresses import AddressSpace
from localcluster.api.resources import ENDPOINT_SLICES, PODS, SERVICES
from localcluster.controllers.services import endpoint_slices, endpoints
from tests.localcluster.small_cluster import small_cluster, until


def a_service(name="till", ports=None, **spec):
    ports = ports or [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": "till"}, "ports": ports, **spec},
    }


def run(folder, scenario):
    async def go():
        async with small_cluster(folder) as cluster:
            await cluster.namespace()
            await scenario(cluster)

    asyncio.run(asyncio.wait_for(go(), 60))


async def slices(cluster, service="till"):
    found, _ = await cluster.client.list(ENDPOINT_SLICES, "shop", labels=f"kubernetes.io/service-name={service}")
    return found


async def addresses(cluster, *, only="ready"):
    return [
        endpoint["addresses"][0]
        for item in await slices(cluster)
        for endpoint in item["endpoints"]
        if endpoint["conditions"][only]
    ]


async def address_of(cluster, name="till"):
    async def given():
        return (await cluster.get(SERVICES, name))["spec"].get("clusterIP")

    return await until(given)


async def answer(address):
    """What a listener says, empty if the connection is reset."""
    with contextlib.suppress(ConnectionResetError):
        reader, writer = await asyncio.open_connection(*address)
        said = await reader.read()
        writer.close()
        return said.decode()
    return ""


@contextlib.asynccontextmanager
async def saying(text, host, port=8080):
    """A server that says a text and closes."""

    async def say(_, writer):
        writer.write(text.encode())
        writer.close()

    server = await asyncio.start_server(say, host, port)
    try:
        yield
    finally:
        server.close()


def test_a_slice_follows_the_pods_and_the_address_answers(tmp_path):
    async def scenario(cluster):
        await cluster.apply(a_service())
        address = await address_of(cluster)
        assert cluster.space.holds_service(address)
        one, two = cluster.space.pod(), cluster.space.pod()

        async def become(wanted):
            async def there():
                return await addresses(cluster) == wanted

            await until(there)

        await until(lambda: slices(cluster))
        assert await addresses(cluster) == []
        assert await answer((address, 8080)) == ""
        await cluster.pod("one", {"app": "till"}, one)
        await cluster.pod("two", {"app": "till"}, two, ready=False)
        await cluster.pod("three", {"app": "other"}, cluster.space.pod())
        await become([one])
        async with saying("one", one), saying("two", two):
            assert await answer((address, 8080)) == "one"
            await cluster.pod("two", {"app": "till"}, two)
            await become([one, two])
            await cluster.pod("one", {"app": "till"}, one, ready=False)
            await become([two])
            assert {await answer((address, 8080)) for _ in range(4)} == {"two"}
            await cluster.client.merge(PODS, "two", "shop", {"metadata": {"labels": {"app": "gone"}}})
            await become([])
            assert await answer((address, 8080)) == ""

    run(tmp_path, scenario)


def test_a_pod_that_ends_is_not_ready_at_once_but_serves_while_there_is_no_other(tmp_path):
    async def scenario(cluster):
        await cluster.apply(a_service())
        address, pod = await address_of(cluster), cluster.space.pod()
        await cluster.pod("one", {"app": "till"}, pod)
        await until(lambda: addresses(cluster))
        await cluster.client.delete(PODS, "one", "shop", grace_s=30)

        async def ending():
            return await addresses(cluster, only="terminating") == [pod]

        await until(ending)
        assert await addresses(cluster) == []
        assert await addresses(cluster, only="serving") == [pod]
        async with saying("one", pod):
            assert await answer((address, 8080)) == "one"

    run(tmp_path, scenario)


def test_several_ports_keep_their_names_and_ports_below_1024_are_listened_to_at_their_target(tmp_path):
    ports = [
        {"name": "http", "port": 80, "targetPort": "http"},
        {"name": "grpc", "port": 8081, "targetPort": 8081, "appProtocol": "kubernetes.io/h2c"},
    ]

    async def scenario(cluster):
        await cluster.apply(a_service(ports=ports))
        address, pod = await address_of(cluster), cluster.space.pod()
        await cluster.pod("one", {"app": "till"}, pod, ports=(("http", 8000), ("grpc", 8081)))
        await until(lambda: addresses(cluster))

        async def one():
            found = await slices(cluster)
            return len(found) == 1 and found

        (item,) = await until(one)
        assert [(port["name"], port["port"]) for port in item["ports"]] == [("http", 8000), ("grpc", 8081)]
        assert item["ports"][1]["appProtocol"] == "kubernetes.io/h2c"
        assert item["addressType"] == "IPv4"
        async with saying("http", pod, 8000), saying("grpc", pod, 8081):
            assert await answer((address, 8080)) == "http"
            assert await answer((address, 8081)) == "grpc"

    run(tmp_path, scenario)


def test_headless_services_have_slices_and_no_listener(tmp_path):
    async def scenario(cluster):
        await cluster.apply(a_service(clusterIP="None"))
        pod = cluster.space.pod()
        await cluster.pod("one", {"app": "till"}, pod)
        await until(lambda: addresses(cluster))
        assert (await cluster.get(SERVICES, "till"))["spec"]["clusterIP"] == "None"
        assert cluster.proxy.addresses == ()

    run(tmp_path, scenario)


def test_a_service_without_selector_serves_slices_that_its_author_wrote(tmp_path):
    async def scenario(cluster):
        service = a_service()
        del service["spec"]["selector"]
        target = cluster.space.pod()
        written = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "mine", "namespace": "shop", "labels": {"kubernetes.io/service-name": "till"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [target]}],
            "ports": [{"name": "http", "port": 9000}],
        }
        await cluster.apply(service, written)
        address = await address_of(cluster)
        async with saying("mine", target, 9000):

            async def answered():
                with contextlib.suppress(ConnectionRefusedError):
                    return await answer((address, 8080)) == "mine"

            await until(answered)
        assert [item["metadata"]["name"] for item in await slices(cluster)] == ["mine"]

    run(tmp_path, scenario)


def test_addresses_stay_over_a_restart_and_those_of_another_range_are_replaced(tmp_path):
    async def first(cluster):
        await cluster.apply(a_service("a"), a_service("b"))
        addresses.extend([await address_of(cluster, "a"), await address_of(cluster, "b")])
        octets.append(cluster.space.octet)

    async def again(cluster):
        if cluster.space.octet != octets[0]:
            pytest.skip("another cluster took the range meanwhile")
        await cluster.apply(a_service("0"))
        assert await address_of(cluster, "0") not in addresses
        assert [await address_of(cluster, name) for name in "ab"] == addresses

    async def elsewhere(cluster):
        async def moved():
            found = [await address_of(cluster, name) for name in "ab"]
            return all(map(cluster.space.holds_service, found))

        await until(moved)

    addresses, octets = [], []
    run(tmp_path, first)
    run(tmp_path, again)
    with AddressSpace.claim(octets[0]):
        run(tmp_path, elsewhere)


def test_a_deleted_service_gives_its_listener_and_its_slices_up(tmp_path):
    async def scenario(cluster):
        await cluster.apply(a_service())
        await address_of(cluster)

        async def listens():
            return len(cluster.proxy.addresses) == 1

        async def gone():
            return not cluster.proxy.addresses and not await slices(cluster)

        await until(listens)
        await cluster.client.delete(SERVICES, "till", "shop")
        await until(gone)

    run(tmp_path, scenario)


def pod(name, address, port, *, ready=True):
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "till"}},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_pods_whose_named_port_differs_are_in_slices_of_their_own():
    service = a_service(ports=[{"name": "http", "port": 80, "targetPort": "http"}])
    service["metadata"]["uid"] = "u"
    made = endpoint_slices(
        service, [pod("a", "127.1.1.1", 1000), pod("b", "127.1.1.2", 2000), pod("c", "127.1.1.3", 1000)]
    )
    assert len({item["metadata"]["name"] for item in made}) == 2
    assert sorted(endpoints(made, "http")) == [("127.1.1.1", 1000), ("127.1.1.2", 2000), ("127.1.1.3", 1000)]


def test_pods_that_have_ended_are_no_endpoints():
    service = a_service()
    service["metadata"]["uid"] = "u"
    ended = pod("a", "127.1.1.1", 8080)
    ended["status"]["phase"] = "Failed"
    assert endpoints(endpoint_slices(service, [ended]), "http") == []


def test_not_ready_pods_are_published_where_the_service_asks_for_it():
    service = a_service(publishNotReadyAddresses=True)
    service["metadata"]["uid"] = "u"
    made = endpoint_slices(service, [pod("a", "127.1.1.1", 8080, ready=False)])
    assert endpoints(made, "http") == [("127.1.1.1", 8080)]

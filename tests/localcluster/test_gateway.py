"""The real Traefik on the real API server; pods are set by hand."""

import asyncio
import contextlib
import os
import signal
import stat
from collections import Counter

import grpc
import httpx
import psutil
import pytest
import yaml
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from localcluster.api.resources import GATEWAYS, HTTP_ROUTES
from localcluster.gateway import NAME, gateway_process
from tests.localcluster.small_cluster import TOKEN, small_cluster, tiny_server, until

HTTP = {"name": "http", "port": 80, "targetPort": 8080}
GRPC = {"name": "grpc", "port": 8081, "targetPort": 8081, "appProtocol": "kubernetes.io/h2c"}
HOST = "shop.localhost"


def a_service(name):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": name}, "ports": [HTTP, GRPC]},
    }


def a_route(*backends, name="shop", kind="HTTPRoute", match=None):
    """A route with backends written as (Service, port, weight)."""
    references = [{"name": service, "port": port, "weight": weight} for service, port, weight in backends]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
            "hostnames": [HOST],
            "rules": [{"backendRefs": references, **({"matches": [match]} if match else {})}],
        },
    }


def run(folder, scenario):
    async def go():
        async with small_cluster(folder, gateway=True) as cluster:
            await cluster.namespace()
            url, headers = f"http://127.0.0.1:{cluster.port}", {"Host": HOST}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as client:
                await scenario(cluster, client)

    asyncio.run(asyncio.wait_for(go(), 90))


async def answers(client, status=200, **options):
    async def there():
        with contextlib.suppress(httpx.TransportError):
            return (await client.get("/", **options)).status_code == status

    await until(there, timeout_s=30)


def test_its_files_are_private_and_neither_token_nor_telemetry_shows(tmp_path):
    spec = gateway_process(tmp_path / "gateway", server="http://127.0.0.1:1", token=TOKEN, port=18080)
    assert not any(TOKEN in word for word in spec.command)
    assert not any(TOKEN in value for value in spec.environment.values())
    assert stat.S_IMODE((tmp_path / "gateway").stat().st_mode) == 0o700
    for file in (tmp_path / "gateway").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    settings = yaml.safe_load((tmp_path / "gateway" / "traefik.yaml").read_text())
    assert settings["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert "api" not in settings
    assert all(point["address"].startswith("127.0.0.1:") for point in settings["entryPoints"].values())


def test_requests_go_by_host_and_weight_and_a_change_counts_within_a_second(tmp_path):
    async def scenario(cluster, client):
        names = {}
        with contextlib.ExitStack() as stack:
            for name in ("stable", "candidate"):
                address = cluster.space.pod()
                names[stack.enter_context(tiny_server(address)).pid] = name
                await cluster.apply(a_service(name))
                await cluster.pod(name, {"app": name}, address)
            await cluster.apply(a_route(("stable", 80, 3), ("candidate", 80, 1)))
            await answers(client)

            async def share(requests=40):
                told = [await client.get("/") for _ in range(requests)]
                return Counter(names[answer.json()["pid"]] if answer.is_success else "failed" for answer in told)

            async def both():
                return await share(8) == {"stable": 6, "candidate": 2}

            await until(both)
            # In turns of four, and where one begins nobody knows.
            told = await share()
            assert told["failed"] == 0
            assert abs(told["candidate"] - 10) <= 1
            await cluster.apply(a_route(("stable", 80, 1), ("candidate", 80, 0)))
            await asyncio.sleep(1)
            assert await share() == {"stable": 40}
            assert (await client.get("/", headers={"Host": "other.localhost"})).status_code == 404
        route = await cluster.get(HTTP_ROUTES, "shop")
        (parent,) = route["status"]["parents"]
        assert {condition["type"]: condition["status"] for condition in parent["conditions"]} == {
            "Accepted": "True",
            "ResolvedRefs": "True",
        }
        gateway = await cluster.client.get(GATEWAYS, "kserve-ingress-gateway", "kserve")
        assert gateway["status"]["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]

    run(tmp_path, scenario)


class _Named(pb_grpc.GRPCInferenceServiceServicer):
    async def ServerMetadata(self, request, context):  # noqa: N802  # the protocol's name
        return pb.ServerMetadataResponse(name="shop")


@pytest.mark.parametrize(
    "route",
    [
        a_route(("shop", 8081, 1), match={"path": {"type": "PathPrefix", "value": "/inference.GRPCInferenceService"}}),
        a_route(("shop", 8081, 1), kind="GRPCRoute", match={"method": {"service": "inference.GRPCInferenceService"}}),
    ],
    ids=["HTTPRoute", "GRPCRoute"],
)
def test_grpc_passes(tmp_path, route):
    async def scenario(cluster, _):
        address = cluster.space.pod()
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(_Named(), server)
        server.add_insecure_port(f"{address}:8081")
        await server.start()
        await cluster.apply(a_service("shop"), route)
        await cluster.pod("shop", {"app": "shop"}, address, ports=(("http", 8080), ("grpc", 8081)))
        options = [("grpc.default_authority", HOST)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{cluster.port}", options=options) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)

            async def named():
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return (await stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=2)).name

            assert await until(named) == "shop"
        await server.stop(0)

    run(tmp_path, scenario)


@contextlib.asynccontextmanager
async def posts(address, *, answer=True):
    """A server that counts the requests it got whole, and answers them or hangs up."""
    got = []

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                got.append(await reader.readexactly(int((head.partition(b"content-length:")[2].split() or [b"0"])[0])))
                if not answer:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, address, 8080)
    try:
        yield got
    finally:
        server.close()


def test_a_post_goes_to_another_pod_when_one_does_not_take_connections(tmp_path):
    async def scenario(cluster, client):
        alive, dead = cluster.space.pod(), cluster.space.pod()
        async with posts(alive):
            await cluster.apply(a_service("shop"), a_route(("shop", 80, 1)))
            await cluster.pod("alive", {"app": "shop"}, alive)
            await answers(client)
            await cluster.pod("dead", {"app": "shop"}, dead)
            await asyncio.sleep(1)
            told = [(await client.post("/", content=b"x")).status_code for _ in range(30)]
            assert told == [200] * 30

    run(tmp_path, scenario)


def test_a_post_that_has_reached_a_pod_is_not_sent_again(tmp_path):
    async def scenario(cluster, client):
        one, two = cluster.space.pod(), cluster.space.pod()
        async with posts(one, answer=False) as first, posts(two, answer=False) as second:
            await cluster.apply(a_service("shop"), a_route(("shop", 80, 1)))
            await cluster.pod("one", {"app": "shop"}, one)
            await cluster.pod("two", {"app": "shop"}, two)
            await answers(client, status=502)
            first.clear()
            second.clear()
            told = [(await client.post("/", content=b"%d" % number)).status_code for number in range(10)]
            assert told == [502] * 10
            assert sorted([*first, *second]) == [b"%d" % number for number in range(10)]

    run(tmp_path, scenario)


def test_a_killed_gateway_comes_back(tmp_path):
    async def scenario(cluster, client):
        address = cluster.space.pod()
        with tiny_server(address):
            await cluster.apply(a_service("shop"), a_route(("shop", 80, 1)))
            await cluster.pod("shop", {"app": "shop"}, address)
            await answers(client)
            (status,) = cluster.supervisor.status()
            assert TOKEN not in " ".join(psutil.Process(status.pid).cmdline())
            os.kill(status.pid, signal.SIGKILL)
            await answers(client)
            assert cluster.supervisor.status()[0].pid != status.pid
            await cluster.supervisor.wait_ready((NAME,), timeout_s=10)

    run(tmp_path, scenario)

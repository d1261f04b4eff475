"""With the real API server and the real Service controller; Deployments and pods are set by hand."""

import asyncio
import copy

import pytest

from localcluster.api.resources import (
    DEPLOYMENTS,
    EVENTS,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    SECRETS,
    SERVICES,
    SERVING_RUNTIMES,
)
from localcluster.render import render
from tests.localcluster.small_cluster import small_cluster, until


@pytest.fixture
def shop(overlay):
    """The objects of a service of three components, by kind."""
    return {item["kind"]: copy.deepcopy(item) for item in render(overlay)}


def run(folder, shop, scenario):
    """Runs a scenario in a cluster with the shop's namespace, Secret and runtime."""

    async def go():
        async with small_cluster(folder) as cluster:
            await cluster.namespace()
            await cluster.apply(shop["Secret"], shop["ServingRuntime"])
            await scenario(cluster)

    asyncio.run(asyncio.wait_for(go(), 60))


async def names(cluster, resource):
    items, _ = await cluster.client.list(resource, "shop")
    return {item["metadata"]["name"] for item in items}


async def status(cluster):
    return (await cluster.get(INFERENCE_SERVICES, "shop")).get("status") or {}


async def truth(cluster, kind="Ready"):
    return {c["type"]: c["status"] for c in (await status(cluster)).get("conditions") or []}.get(kind)


async def becomes(cluster, status, kind="Ready"):
    async def there():
        return await truth(cluster, kind) == status

    await until(there)


async def events(cluster):
    items, _ = await cluster.client.list(EVENTS, "shop")
    return [event for event in items if event["involvedObject"]["kind"] == "InferenceService"]


ALL = {"shop-predictor", "shop-transformer", "shop-explainer"}


async def made(cluster, wanted=ALL):
    async def there():
        return await names(cluster, DEPLOYMENTS) == await names(cluster, SERVICES) == wanted

    await until(there)


def test_a_service_becomes_deployments_and_services_and_is_ready_when_they_are(tmp_path, shop):
    async def scenario(cluster):
        await cluster.apply(shop["InferenceService"])
        await made(cluster)
        await becomes(cluster, "Unknown")
        for name in ALL:
            await cluster.available(name)
        await becomes(cluster, "True")
        told = await status(cluster)
        assert told["servingRuntimeName"] == "tiny"
        assert told["deploymentMode"] == "Standard"
        assert told["components"]["predictor"]["restUrl"].endswith(":8080")
        wanted = ["Created"] * 6 + ["PredictorReady", "TransformerReady", "ExplainerReady", "IngressReady", "Ready"]

        async def recorded():
            return sorted(event["reason"] for event in await events(cluster)) == sorted(wanted)

        await until(recorded)

    run(tmp_path, shop, scenario)


def test_when_nothing_changes_nothing_is_written(tmp_path, shop):
    async def versions(cluster):
        found = {}
        for resource in (INFERENCE_SERVICES, DEPLOYMENTS, SERVICES, EVENTS):
            items, _ = await cluster.client.list(resource, "shop")
            found |= {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}
        return found

    async def scenario(cluster):
        await cluster.apply(shop["InferenceService"])
        await made(cluster)
        for name in ALL:
            await cluster.available(name)
        await becomes(cluster, "True")
        await asyncio.sleep(0.3)
        before = await versions(cluster)
        # A pod of another service's, a label of a runtime: the controller looks, and finds nothing to do.
        patch = {"metadata": {"labels": {"seen": "yes"}}}
        await cluster.client.merge(SERVING_RUNTIMES, "tiny", "shop", patch)
        await cluster.pod("other", {"serving.kserve.io/inferenceservice": "shop"}, ready=False)
        await asyncio.sleep(0.5)
        assert await versions(cluster) == before

    run(tmp_path, shop, scenario)


def test_what_is_no_longer_wanted_goes_and_what_was_changed_by_others_comes_back(tmp_path, shop):
    async def scenario(cluster):
        await cluster.apply(shop["InferenceService"])
        await made(cluster)
        await cluster.client.merge(DEPLOYMENTS, "shop-predictor", "shop", {"spec": {"replicas": 5}})
        await cluster.client.delete(SERVICES, "shop-predictor", "shop")

        async def back():
            predictor = await cluster.get(DEPLOYMENTS, "shop-predictor")
            return predictor["spec"]["replicas"] == 1 and await cluster.get(SERVICES, "shop-predictor")

        await until(back)

        async def counted():
            again = "created Service shop-predictor"
            return [event["count"] for event in await events(cluster) if event["message"] == again] == [2]

        await until(counted)
        del shop["InferenceService"]["spec"]["transformer"]
        await cluster.apply(shop["InferenceService"])
        await made(cluster, ALL - {"shop-transformer"})
        assert await truth(cluster, "TransformerReady") is None
        await cluster.client.delete(INFERENCE_SERVICES, "shop", "shop")
        await made(cluster, set())

    run(tmp_path, shop, scenario)


def test_a_variable_that_is_removed_from_the_manifest_is_removed_from_the_pods(tmp_path, shop):
    async def template(cluster, name):
        return (await cluster.get(DEPLOYMENTS, name))["spec"]["template"]

    async def scenario(cluster):
        transformer = shop["InferenceService"]["spec"]["transformer"]
        transformer["annotations"] = {"note": "x"}
        await cluster.apply(shop["InferenceService"])
        await made(cluster)
        assert (await template(cluster, "shop-transformer"))["metadata"]["annotations"]["note"] == "x"
        del transformer["annotations"]
        await cluster.apply(shop["InferenceService"])

        async def gone():
            return "note" not in (await template(cluster, "shop-transformer"))["metadata"]["annotations"]

        await until(gone)

    run(tmp_path, shop, scenario)


def test_a_change_of_the_runtime_reaches_the_predictor_only(tmp_path, shop):
    async def scenario(cluster):
        await cluster.apply(shop["InferenceService"])
        await made(cluster)
        before = (await cluster.get(DEPLOYMENTS, "shop-transformer"))["metadata"]["generation"]
        shop["ServingRuntime"]["spec"]["containers"][0]["image"] = "tiny:2"
        await cluster.apply(shop["ServingRuntime"])

        async def rolled():
            template = (await cluster.get(DEPLOYMENTS, "shop-predictor"))["spec"]["template"]
            return template["spec"]["containers"][0]["image"] == "tiny:2"

        await until(rolled)
        assert (await cluster.get(DEPLOYMENTS, "shop-transformer"))["metadata"]["generation"] == before

    run(tmp_path, shop, scenario)


def test_without_a_runtime_nothing_is_made_and_the_status_says_why_until_there_is_one(tmp_path, shop):
    async def scenario(cluster):
        await cluster.client.delete(SERVING_RUNTIMES, "tiny", "shop")
        await cluster.apply(shop["InferenceService"])
        await becomes(cluster, "False")
        told = await status(cluster)
        assert told["modelStatus"]["transitionStatus"] == "InvalidSpec"
        assert told["modelStatus"]["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
        assert "no runtime serves modelFormat tiny" in told["conditions"][0]["message"]
        assert not await names(cluster, DEPLOYMENTS)
        await cluster.apply(shop["ServingRuntime"])
        await made(cluster)
        await becomes(cluster, "Unknown")

    run(tmp_path, shop, scenario)


def test_a_stopped_service_loses_its_deployments_and_gets_them_back(tmp_path, shop):
    async def scenario(cluster):
        await cluster.apply(shop["InferenceService"])
        await made(cluster)
        for value, wanted in (("true", set()), (None, ALL)):
            patch = {"metadata": {"annotations": {"serving.kserve.io/stop": value}}}
            await cluster.client.merge(INFERENCE_SERVICES, "shop", "shop", patch)
            await made(cluster, wanted)
            await becomes(cluster, "True" if value else None, "Stopped")

    run(tmp_path, shop, scenario)


def test_a_deployment_of_somebody_else_is_not_taken_over_and_the_status_says_so(tmp_path, shop):
    async def scenario(cluster):
        secret = await cluster.get(SECRETS, "decisions")
        owner = {key: secret["metadata"][key] for key in ("name", "uid")} | {"apiVersion": "v1", "kind": "Secret"}
        container = {"name": "c", "image": "x:1"}
        foreign = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "shop-predictor",
                "namespace": "shop",
                "ownerReferences": [owner | {"controller": True}],
            },
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
            },
        }
        await cluster.client.create(DEPLOYMENTS, foreign)
        await cluster.apply(shop["InferenceService"])
        await becomes(cluster, "False")
        assert "belongs to another object" in (await status(cluster))["conditions"][0]["message"]
        assert (await cluster.get(DEPLOYMENTS, "shop-predictor"))["metadata"]["ownerReferences"][0]["kind"] == "Secret"
        await cluster.client.delete(DEPLOYMENTS, "shop-predictor", "shop")
        await made(cluster)

    run(tmp_path, shop, scenario)


def test_a_route_that_comes_later_counts(tmp_path, shop):
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
            "hostnames": ["shop.localhost"],
            "rules": [{"backendRefs": [{"name": "shop-transformer", "port": 80}]}],
        },
    }

    async def scenario(cluster):
        await cluster.apply(shop["InferenceService"])
        await becomes(cluster, "True", "IngressReady")
        await cluster.apply(route)
        await becomes(cluster, "Unknown", "IngressReady")
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": kind,
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parents = [
            {
                "parentRef": route["spec"]["parentRefs"][0],
                "controllerName": "traefik.io/gateway-controller",
                "conditions": conditions,
            }
        ]
        patch = {"status": {"parents": parents}}
        await cluster.client.merge(HTTP_ROUTES, "shop", "shop", patch, subresource="status")
        await becomes(cluster, "True", "IngressReady")
        assert (await status(cluster))["url"] == f"http://shop.localhost:{cluster.port}"
        # It leads elsewhere from now on.
        route["spec"]["rules"][0]["backendRefs"][0]["name"] = "other"
        await cluster.apply(route)

        async def inside():
            return (await status(cluster))["url"] == "http://shop-transformer.shop.svc.cluster.local"

        await until(inside)

    run(tmp_path, shop, scenario)

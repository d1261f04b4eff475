"""Objects that a cluster brings: what a cluster's administrator would have installed before anybody deploys."""

from __future__ import annotations

from localcluster.api.resources import resource_of
from localcluster.controllers.client import Client
from localcluster.render import Object

GATEWAY_NAMESPACE = "kserve"
GATEWAY = "kserve-ingress-gateway"
GATEWAY_CLASS = "traefik"


def builtin_objects(gateway_port: int) -> tuple[Object, ...]:
    """The Gateway that KServe's routes name by default, and what it needs.

    Args:
        gateway_port: Port of the gateway on this machine; a listener's port must equal Traefik's entry point.
    """
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            # NetworkPolicies know the gateway's namespace by this label.
            "metadata": {"name": GATEWAY_NAMESPACE, "labels": {"ml-deployment-blueprints/role": "gateway"}},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": GATEWAY_CLASS},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE},
            "spec": {
                "gatewayClassName": GATEWAY_CLASS,
                "listeners": [
                    {
                        "name": "http",
                        "protocol": "HTTP",
                        "port": gateway_port,
                        "allowedRoutes": {"namespaces": {"from": "All"}},
                    }
                ],
            },
        },
    )


async def install_builtin(client: Client, gateway_port: int) -> None:
    """Applies them; what is as it should be stays untouched."""
    for item in builtin_objects(gateway_port):
        resource = resource_of(item)
        if resource is None:
            raise ValueError(f"the API does not serve {item['apiVersion']} {item['kind']}")
        await client.apply(resource, item)

"""Service → an address, EndpointSlices of the pods that it selects, and listeners that pass connections on to them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence

from localcluster.addresses import AddressSpace, listening_port
from localcluster.api.resources import ENDPOINT_SLICES, PODS, SERVICES, Resource
from localcluster.controllers.applier import Applier
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, Key, key_of, matches, owner_reference
from localcluster.controllers.service_proxy import ServiceProxy, SocketAddress
from localcluster.inference_status import is_ready
from localcluster.render import Object

SERVICE_LABEL = "kubernetes.io/service-name"

_LOG = logging.getLogger("localcluster")
_MANAGED_BY = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
_LISTEN_AGAIN_S = 5.0


class ServiceController(Controller):
    """Gives Services addresses and endpoints, and runs the proxy; the key is a Service's.

    Args:
        client: Where it writes.
        cache: What it reads.
        space: Where addresses come from.
        proxy: Listens on them.
    """

    name = "services"
    watches = (SERVICES, PODS, ENDPOINT_SLICES)

    def __init__(self, client: Client, cache: Cache, space: AddressSpace, proxy: ServiceProxy) -> None:
        super().__init__(client, cache)
        self._space = space
        self._proxy = proxy
        self._applier = Applier(client, cache)
        self._addresses: dict[Key, str] = {}
        self._listening: dict[Key, set[SocketAddress]] = {}

    async def run(self) -> None:
        """See `Controller`; addresses that Services have are theirs before any is given anew."""
        await self.cache.synced()
        for service in self.cache.all(SERVICES):
            address = service["spec"].get("clusterIP", "")
            if self._space.holds_service(address) and self._space.service(address) == address:
                self._addresses[key_of(service)] = address
        await super().run()

    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """See `Controller`."""
        namespace = item["metadata"].get("namespace", "")
        if resource == SERVICES:
            return [key_of(item)]
        if resource == PODS:
            # All of the namespace: the pod may have had other labels before.
            return [
                key_of(service) for service in self.cache.all(SERVICES, namespace) if service["spec"].get("selector")
            ]
        name = (item["metadata"].get("labels") or {}).get(SERVICE_LABEL)
        return [(namespace, name)] if name else ()

    async def reconcile(self, key: Key) -> float | None:
        """See `Controller`."""
        service = self.cache.get(SERVICES, key)
        if service is None or service["spec"].get("type") == "ExternalName":
            self._end(key)
            return None
        address = await self._address(key, service)
        slices = [item for item in self._slices_of(key) if _owner(item) != service["metadata"]["uid"]]
        if service["spec"].get("selector"):
            made = endpoint_slices(service, self.cache.all(PODS, key[0]))
            for item in made:
                await self._applier.apply(ENDPOINT_SLICES, item)
            await self._applier.prune(ENDPOINT_SLICES, service, {item["metadata"]["name"] for item in made})
            slices += made
        return await self._listen(key, service, address, slices)

    def _slices_of(self, key: Key) -> list[Object]:
        wanted = {SERVICE_LABEL: key[1]}
        return [
            item for item in self.cache.all(ENDPOINT_SLICES, key[0]) if matches(item["metadata"].get("labels"), wanted)
        ]

    async def _address(self, key: Key, service: Object) -> str:
        """The Service's address in this cluster's range; empty for one without."""
        there = service["spec"].get("clusterIP", "")
        if there == "None":
            self._end(key)
            return ""
        if self._addresses.get(key) is None:
            self._addresses[key] = self._space.service(there)
        address = self._addresses[key]
        if there != address:
            patch = {"spec": {"clusterIP": address, "clusterIPs": [address]}}
            await self.client.merge(SERVICES, key[1], key[0], patch)
        return address

    async def _listen(self, key: Key, service: Object, address: str, slices: Sequence[Object]) -> float | None:
        wanted: dict[SocketAddress, list[SocketAddress]] = {}
        ports = service["spec"].get("ports") or [] if address else []
        # A port that is listened to under its own number comes before one that stands in for a lower one.
        for port in sorted(ports, key=lambda port: listening_port(port) != port["port"]):
            if port.get("protocol", "TCP") == "TCP":
                wanted.setdefault((address, listening_port(port)), endpoints(slices, port.get("name", "")))
        listening = self._listening.setdefault(key, set())
        for gone in listening - wanted.keys():
            self._proxy.drop(gone)
            listening.discard(gone)
        again = None
        for at, targets in wanted.items():
            try:
                await self._proxy.serve(at, targets)
                listening.add(at)
            except OSError as error:
                _LOG.warning("Service %s: cannot listen on %s:%d: %s", "/".join(key), *at, error.strerror)
                again = _LISTEN_AGAIN_S
        return again

    def _end(self, key: Key) -> None:
        for listening in self._listening.pop(key, set()):
            self._proxy.drop(listening)
        if (address := self._addresses.pop(key, None)) is not None:
            self._space.release(address)


def endpoint_slices(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The EndpointSlices of a Service with a selector: one for each set of port numbers, an empty one for no pod.

    Args:
        service: The Service.
        pods: Pods of its namespace.
    """
    metadata, spec = service["metadata"], service["spec"]
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    chosen = [
        pod
        for pod in pods
        if matches(pod["metadata"].get("labels"), spec["selector"])
        and (pod.get("status") or {}).get("podIP")
        and (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}
    ]
    for pod in sorted(chosen, key=key_of):
        ports = _slice_ports(spec, pod)
        group = groups.setdefault(json.dumps(ports), (ports, []))
        group[1].append(_endpoint(pod, always=bool(spec.get("publishNotReadyAddresses"))))
    if not groups:
        groups[""] = (_slice_ports(spec, None), [])
    return [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{metadata['name']}-{_suffix(metadata['uid'], ports)}",
                "namespace": metadata.get("namespace", ""),
                "labels": {**(metadata.get("labels") or {}), SERVICE_LABEL: metadata["name"], **_MANAGED_BY},
                "ownerReferences": [owner_reference(service)],
            },
            "addressType": "IPv4",
            "endpoints": members,
            "ports": ports,
        }
        for ports, members in groups.values()
    ]


def endpoints(slices: Iterable[Object], port_name: str) -> list[SocketAddress]:
    """Where a port of a Service is answered: by ready endpoints, else by those that end but still serve."""
    ready: list[SocketAddress] = []
    ending: list[SocketAddress] = []
    for item in slices:
        number = next((port.get("port") for port in item.get("ports") or [] if port.get("name", "") == port_name), None)
        if number is None:
            continue
        for endpoint in item.get("endpoints") or []:
            conditions: Mapping[str, bool | None] = endpoint.get("conditions") or {}
            if conditions.get("ready") is not False:
                ready += [(address, number) for address in endpoint["addresses"]]
            elif conditions.get("serving") and conditions.get("terminating"):
                ending += [(address, number) for address in endpoint["addresses"]]
    return ready or ending


def _slice_ports(spec: Object, pod: Object | None) -> list[Object]:
    ports = []
    for port in spec.get("ports") or []:
        number = port.get("targetPort", port["port"])
        if isinstance(number, str):
            number = _named_port(pod, number)
        if number is not None:
            entry: Object = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if "appProtocol" in port:
                entry["appProtocol"] = port["appProtocol"]
            ports.append(entry)
    return ports


def _named_port(pod: Object | None, name: str) -> int | None:
    for container in pod["spec"].get("containers") or [] if pod is not None else []:
        for port in container.get("ports") or []:
            if port.get("name") == name:
                return int(port["containerPort"])
    return None


def _endpoint(pod: Object, *, always: bool) -> Object:
    metadata = pod["metadata"]
    serving, terminating = is_ready(pod), "deletionTimestamp" in metadata
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": always or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
        },
    }


def _suffix(uid: str, ports: Sequence[Object]) -> str:
    return hashlib.sha256(f"{uid} {json.dumps(ports, sort_keys=True)}".encode()).hexdigest()[:5]


def _owner(item: Object) -> str:
    return next((reference["uid"] for reference in item["metadata"].get("ownerReferences") or []), "")

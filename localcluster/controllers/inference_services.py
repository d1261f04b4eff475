"""InferenceService → a Deployment and a Service for each component, and its status."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from localcluster.api.errors import ApiError
from localcluster.api.resources import (
    CLUSTER_SERVING_RUNTIMES,
    DEPLOYMENTS,
    GATEWAYS,
    GRPC_ROUTES,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    PODS,
    SERVICES,
    SERVING_RUNTIMES,
    Resource,
)
from localcluster.component_objects import INFERENCE_SERVICE_LABEL, deployment, service
from localcluster.controllers.applier import Applier, difference
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, Key, key_of, matches, owner_reference
from localcluster.controllers.recorder import Recorder
from localcluster.inference_service import ROLES, Component, UnfitRuntimeError, components, service_name
from localcluster.inference_status import Failure, Observed, Part, component_condition, status_of
from localcluster.render import ManifestError, Object, Objects

_SHARED = {SERVING_RUNTIMES, CLUSTER_SERVING_RUNTIMES, HTTP_ROUTES, GRPC_ROUTES, GATEWAYS}
_STOP = "serving.kserve.io/stop"
# The gateway gathers changes for 0.1 s, and needs a moment to take them over.
_GATEWAY_FOLLOWS_S = 0.5


class InferenceServiceController(Controller):
    """Does what KServe's controller does in Standard mode; the key is an InferenceService's.

    Args:
        client: Where it writes.
        cache: What it reads.
        recorder: Where it tells of what it does.
    """

    name = "inference-services"
    watches = (
        INFERENCE_SERVICES,
        SERVING_RUNTIMES,
        CLUSTER_SERVING_RUNTIMES,
        DEPLOYMENTS,
        SERVICES,
        PODS,
        HTTP_ROUTES,
        GRPC_ROUTES,
        GATEWAYS,
    )

    def __init__(self, client: Client, cache: Cache, recorder: Recorder) -> None:
        super().__init__(client, cache)
        self._recorder = recorder
        self._applier = Applier(client, cache)
        # Since when all components are ready.
        self._complete_since: dict[Key, float] = {}

    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """See `Controller`."""
        namespace = item["metadata"].get("namespace", "")
        if resource == INFERENCE_SERVICES:
            return [key_of(item)]
        if resource in _SHARED:
            # Whichever they concern now, or did before they changed; a Gateway may serve every namespace.
            wide = resource in {CLUSTER_SERVING_RUNTIMES, GATEWAYS}
            return [key_of(service) for service in self.cache.all(INFERENCE_SERVICES, "" if wide else namespace)]
        if (name := (item["metadata"].get("labels") or {}).get(INFERENCE_SERVICE_LABEL)) is not None:
            return [(namespace, name)]
        return ()

    async def reconcile(self, key: Key) -> float | None:
        """See `Controller`."""
        # The latest, so that no change is told twice.
        item = self._applier.latest(INFERENCE_SERVICES, key)
        if item is None or "deletionTimestamp" in item["metadata"]:
            self._complete_since.pop(key, None)
            return None
        stopped = (item["metadata"].get("annotations") or {}).get(_STOP) == "true"
        parts: Sequence[Component] = ()
        failure = None
        try:
            parts = components(item, self._runtimes(key[0]))
        except ManifestError as error:
            reason = "NoSupportingRuntime" if isinstance(error, UnfitRuntimeError) else "InvalidPredictorSpec"
            failure = Failure(reason, str(error))
        refusal = None
        if failure is None:
            try:
                await self._make(item, () if stopped else parts)
            except ApiError as error:
                # Its author must know, and it is tried again: what stands in the way may go.
                refusal, failure = error, Failure("InvalidPredictorSpec", error.message)
        again = await self._tell(item, parts, failure, stopped=stopped)
        if refusal is not None:
            raise refusal
        return again

    def _runtimes(self, namespace: str) -> Objects:
        return Objects((*self.cache.all(SERVING_RUNTIMES, namespace), *self.cache.all(CLUSTER_SERVING_RUNTIMES)))

    async def _make(self, item: Object, parts: Sequence[Component]) -> None:
        owner = owner_reference(item)
        for part in parts:
            for resource, wanted in ((SERVICES, service(part, owner)), (DEPLOYMENTS, deployment(part, owner))):
                if await self._applier.apply(resource, wanted):
                    self._recorder.record(item, "Created", f"created {resource.kind} {part.service}")
        for resource in (DEPLOYMENTS, SERVICES):
            await self._applier.prune(resource, item, {part.service for part in parts})

    async def _tell(
        self, item: Object, parts: Sequence[Component], failure: Failure | None, *, stopped: bool
    ) -> float | None:
        """Writes the status; seconds after which to look again, if that is needed."""
        namespace, name = key = key_of(item)
        runtimes = {part.role: part.runtime for part in parts}
        found = [
            Part(
                role=role,
                deployment=self._applier.latest(DEPLOYMENTS, (namespace, service_name(name, role))),
                service=self._applier.latest(SERVICES, (namespace, service_name(name, role))),
                pods=self._pods(namespace, service_name(name, role)),
                runtime=runtimes.get(role),
            )
            for role in ROLES
            if role in item["spec"]
        ]
        behind_s = self._gateway_behind(key, complete=all(component_condition(part).status == "True" for part in found))
        observed = Observed(
            service=item,
            parts=found,
            routes=[*self.cache.all(HTTP_ROUTES, namespace), *self.cache.all(GRPC_ROUTES, namespace)],
            gateways={key_of(gateway): gateway for gateway in self.cache.all(GATEWAYS)},
            failure=failure,
            stopped=stopped,
            gateway_behind=behind_s > 0,
        )
        status = status_of(observed, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        before: Object = item.get("status") or {}
        patch = difference(before, status)
        if not patch:
            return behind_s or None
        written = await self.client.merge(INFERENCE_SERVICES, name, namespace, {"status": patch}, subresource="status")
        if written is not None:
            self._applier.wrote(INFERENCE_SERVICES, written)
            self._record(item, before, status)
        return behind_s or None

    def _gateway_behind(self, key: Key, *, complete: bool) -> float:
        """Seconds until the gateway has surely seen that a service is complete; 0 if it has, or is not complete."""
        if not complete:
            self._complete_since.pop(key, None)
            return 0
        now = time.monotonic()
        return max(0.0, self._complete_since.setdefault(key, now) + _GATEWAY_FOLLOWS_S - now)

    def _pods(self, namespace: str, service: str) -> list[Object]:
        wanted = {"app": f"isvc.{service}"}
        return [pod for pod in self.cache.all(PODS, namespace) if matches(pod["metadata"].get("labels"), wanted)]

    def _record(self, item: Object, before: Object, now: Object) -> None:
        """Makes Events of what is ready now, what no longer is, and of a new failure."""
        earlier = {condition["type"]: condition["status"] for condition in before.get("conditions") or []}
        for condition in now["conditions"]:
            type_, status = condition["type"], condition["status"]
            if status == "True" and earlier.get(type_) != "True":
                self._recorder.record(item, type_, condition.get("message") or "is ready")
            elif status == "False" and earlier.get(type_) == "True":
                message = condition.get("message") or condition.get("reason", "")
                self._recorder.record(item, f"{type_.removesuffix('Ready')}NotReady", message, warning=True)
        failure = now["modelStatus"].get("lastFailureInfo")
        if failure is not None and failure != (before.get("modelStatus") or {}).get("lastFailureInfo"):
            message = ": ".join(filter(None, (failure.get("location"), failure["message"])))
            self._recorder.record(item, failure["reason"], message, warning=True)

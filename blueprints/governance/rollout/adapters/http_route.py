"""Traffic by an HTTPRoute whose rules name the Services of both versions with weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from blueprints.governance.rollout.adapters.cluster import (
    HTTP_ROUTES,
    AbsentError,
    Cluster,
    ClusterError,
    ConflictError,
    Object,
)
from blueprints.governance.rollout.adapters.inference_service import ROLES, candidate_name
from blueprints.governance.rollout.adapters.records import STATE, Ended, annotated, history, stored_state
from blueprints.governance.rollout.ports import NO_WEIGHT, Stored, SupersededError
from blueprints.governance.rollout.state import Phase, Stage, State

_GONE = frozenset({Stage.REMOVE_CANDIDATE, Stage.REGISTER})


class HttpRouteTraffic:
    """Weights of all rules and the state, in one write.

    Args:
        cluster: Where the route is.
        service: The stable service; its route has the same name.
    """

    def __init__(self, cluster: Cluster, service: str) -> None:
        self._cluster = cluster
        self._service = service
        self._read: Object = {"metadata": {}}

    def read(self) -> Stored:
        """See `Traffic`.

        Raises:
            ClusterError: The route cannot be read, or names no Service of the stable version.
        """
        route = self._cluster.require(HTTP_ROUTES, self._service)
        if not entry_services([route], self._service):
            roles = ", ".join(f"{self._service}-{role}" for role in ROLES)
            raise ClusterError(f"HTTPRoute {self._service!r} has no backend of the stable version ({roles})")
        self._read = route
        return Stored(stored_state(route), candidate_weight(route, self._service), route["metadata"]["resourceVersion"])

    def write(self, state: State, version: str) -> str:
        """See `Traffic`."""
        route = self._read
        if route["metadata"].get("resourceVersion") != version:
            route = self._cluster.get(HTTP_ROUTES, self._service) or {"metadata": {}}
            if route["metadata"].get("resourceVersion") != version:
                raise SupersededError(f"HTTPRoute {self._service!r} has changed")
        removed = state.phase is Phase.PROMOTED or (state.stage in _GONE and state.phase is Phase.PROMOTING)
        patch = {
            "metadata": {"annotations": annotated(state, route)},
            "spec": {"rules": weighted_rules(route, self._service, state.weight, with_candidate=not removed)},
        }
        try:
            written = self._cluster.merge(HTTP_ROUTES, self._service, patch, version=version)
        except (ConflictError, AbsentError) as error:
            raise SupersededError(str(error)) from error
        self._read = written
        _tell(self._cluster, stored_state(route), state, written)
        return str(written["metadata"]["resourceVersion"])

    def discard(self) -> None:
        """Drops a state that may be unreadable and gives stable all traffic, in one write.

        Raises:
            SupersededError: Someone else wrote at the same time.
        """
        route = self._cluster.require(HTTP_ROUTES, self._service)
        patch = {
            "metadata": {"annotations": {STATE: None}},
            "spec": {"rules": weighted_rules(route, self._service, 0)},
        }
        try:
            self._cluster.merge(HTTP_ROUTES, self._service, patch, version=route["metadata"]["resourceVersion"])
        except (ConflictError, AbsentError) as error:
            raise SupersededError(str(error)) from error

    def history(self) -> tuple[Ended, ...]:
        """How the last rollouts ended, oldest first."""
        return history(self._cluster.require(HTTP_ROUTES, self._service))

    def services(self) -> Sequence[str]:
        """Services of the stable version that the route sends requests to."""
        return entry_services([self._cluster.require(HTTP_ROUTES, self._service)], self._service)


def weighted_rules(route: Object, service: str, weight: int, *, with_candidate: bool = True) -> list[Object]:
    """The route's rules with new weights; backends that belong to neither version stay as they are.

    Args:
        route: An HTTPRoute.
        service: The stable service.
        weight: The candidate's, in percent.
        with_candidate: Whether backends of the candidate are there at all.
    """
    rules: list[Object] = copy.deepcopy(route["spec"]["rules"])
    for rule in rules:
        backends: list[Object] = []
        known = {backend["name"]: backend for backend in rule.get("backendRefs") or []}
        for backend in rule.get("backendRefs") or []:
            role = _role(backend, service)
            if role is not None:
                backends.append({**backend, "weight": 100 - weight})
                name = f"{candidate_name(service)}-{role}"
                if with_candidate:
                    backends.append({**known.get(name, {**backend, "name": name}), "weight": weight})
            elif _role(backend, candidate_name(service)) is None:
                backends.append(backend)
        if backends:
            rule["backendRefs"] = backends
    return rules


def candidate_weight(route: Object, service: str) -> int:
    """The candidate's percentage in the rules that name stable; `NO_WEIGHT` if they differ or one has none."""
    shares = set()
    for rule in route["spec"]["rules"]:
        stable, candidate = (
            [backend.get("weight", 1) for backend in rule.get("backendRefs") or [] if _role(backend, name) is not None]
            for name in (service, candidate_name(service))
        )
        if stable:
            total = sum(stable + candidate)
            shares.add(round(100 * sum(candidate) / total) if total else NO_WEIGHT)
    return shares.pop() if len(shares) == 1 else NO_WEIGHT


def entry_services(routes: Sequence[Object], service: str) -> Sequence[str]:
    """Names of the stable version's Services that routes send requests to, each once."""
    backends = (
        backend
        for route in routes
        for rule in route["spec"].get("rules") or []
        for backend in rule.get("backendRefs") or []
    )
    return list(dict.fromkeys(backend["name"] for backend in backends if _role(backend, service) is not None))


def _role(backend: Object, service: str) -> str | None:
    """The component of that service that a backend names."""
    return next((role for role in ROLES if backend["name"] == f"{service}-{role}"), None)


def _tell(cluster: Cluster, before: State | None, now: State, route: Object) -> None:
    """Records an Event where phase or weight changed."""
    if before is not None and (before.rollout.id, before.phase, before.weight) == (
        now.rollout.id,
        now.phase,
        now.weight,
    ):
        return
    reason = "Rollout" + "".join(word.capitalize() for word in now.phase.split("_"))
    message = f"{now.rollout.candidate_model} at {now.weight} %: {now.reason}"
    warning = now.phase in {Phase.ROLLED_BACK, Phase.FAILED}
    cluster.event(HTTP_ROUTES, route, reason, message, warning=warning)

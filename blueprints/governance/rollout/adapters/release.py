"""Candidate and promotion on KServe: two InferenceServices, and the registry's alias."""

from __future__ import annotations

import copy
import logging
import re
from typing import Any

from blueprints.governance.registry import RegisteredModel, Registry, RegistryError
from blueprints.governance.rollout.adapters.cluster import (
    DEPLOYMENTS,
    INFERENCE_SERVICES,
    AbsentError,
    Cluster,
    ClusterError,
    ConflictError,
    Object,
)
from blueprints.governance.rollout.adapters.inference_service import (
    SERVICE_LABEL,
    candidate_name,
    candidate_of,
    model_of,
    serves,
    with_model,
)
from blueprints.governance.rollout.ports import UnavailableError
from blueprints.governance.rollout.state import Rollout

DERIVED = "ml-deployment-blueprints/derived-by"
_LOG = logging.getLogger(__name__)
_VERSION = re.compile(r"[0-9a-f]{12}")


class KubernetesRelease:
    """Steps of a promotion between `<service>` and `<service>-candidate`.

    Args:
        cluster: Where they are.
        service: The stable service.
        registry: Where the alias moves; None where there is no registry.
    """

    def __init__(self, cluster: Cluster, service: str, registry: Registry | None) -> None:
        self._cluster = cluster
        self._service = service
        self._registry = registry

    def prepared(self, model: str) -> bool:
        """Whether there is a candidate that serves a model."""
        candidate = self._candidate()
        return candidate is not None and model_of(candidate) == model

    def prepare(self, model: str) -> None:
        """Makes a candidate that serves a model, or gives the one that is there that model.

        One that an earlier rollout left behind is made anew; one that someone else made keeps all but its model.

        Raises:
            ClusterError: The stable service is not there, or names no model.
        """
        stable = self._cluster.require(INFERENCE_SERVICES, self._service)
        wanted = candidate_of(stable, model)
        wanted["metadata"]["annotations"][DERIVED] = "rollout"
        there = self._candidate()
        if there is None:
            self._cluster.create(INFERENCE_SERVICES, wanted)
        elif DERIVED in (there["metadata"].get("annotations") or {}):
            metadata = {**there["metadata"], **{key: wanted["metadata"][key] for key in ("labels", "annotations")}}
            self._cluster.replace(INFERENCE_SERVICES, {**there, "metadata": metadata, "spec": wanted["spec"]})
        elif model_of(there) != model:
            self._move(there, model)

    def move_model(self, rollout: Rollout) -> None:
        """See `Release`."""
        stable, candidate = self._cluster.get(INFERENCE_SERVICES, self._service), self._candidate()
        if stable is None or candidate is None or model_of(candidate) != rollout.candidate_model:
            return
        if model_of(stable) != rollout.candidate_model:
            self._move(stable, rollout.candidate_model)

    def stable_ready(self, rollout: Rollout) -> bool:
        """See `Release`."""
        stable = self._cluster.get(INFERENCE_SERVICES, self._service)
        if stable is None or model_of(stable) != rollout.candidate_model:
            return False
        return serves(stable, self._cluster.list(DEPLOYMENTS, {SERVICE_LABEL: self._service}), complete=True)

    def remove_candidate(self, rollout: Rollout) -> None:
        """See `Release`."""
        candidate = self._candidate()
        if candidate is not None and model_of(candidate) == rollout.candidate_model:
            self._cluster.delete(INFERENCE_SERVICES, candidate)

    def register(self, rollout: Rollout, reason: str) -> None:
        """See `Release`."""
        register(self._registry, rollout, reason)

    def _candidate(self) -> Object | None:
        return self._cluster.get(INFERENCE_SERVICES, candidate_name(self._service))

    def _move(self, service: Object, model: str) -> None:
        """Gives a service another model, unless someone else changes it at the same time: then at the next look."""
        metadata = service["metadata"]
        patch = {"spec": with_model(service["spec"], model)}
        try:
            self._cluster.merge(INFERENCE_SERVICES, metadata["name"], patch, version=metadata["resourceVersion"])
        except (ConflictError, AbsentError) as error:
            raise _again(error) from error


class KnativeRelease:
    """Steps of a promotion where one InferenceService has both models as revisions.

    The promotion's first write lets all traffic go to the latest revision, so little is left to do.

    Args:
        cluster: Where it is.
        service: The service.
        registry: Where the alias moves; None where there is no registry.
    """

    def __init__(self, cluster: Cluster, service: str, registry: Registry | None) -> None:
        self._cluster = cluster
        self._service = service
        self._registry = registry

    def prepared(self, model: str) -> bool:
        """Whether the newest revision is one with a model."""
        return model_of(self._cluster.require(INFERENCE_SERVICES, self._service)) == model

    def prepare(self, model: str) -> None:
        """Makes a revision with a model and without traffic.

        Raises:
            ClusterError: The service is not there, names no model, or has parts beside the predictor, each of which
                Knative would split by itself: a request could meet the transformer of one version and the predictor of
                the other.
        """
        service = self._cluster.require(INFERENCE_SERVICES, self._service)
        if parts := sorted({"transformer", "explainer"} & service["spec"].keys()):
            raise ClusterError(
                f"{self._service!r} has a {' and a '.join(parts)}: Knative splits each part's traffic by itself, so "
                "versions would mix within a request; roll it out by an HTTPRoute in Standard mode"
            )
        spec = copy.deepcopy(with_model(service["spec"], model))
        spec["predictor"]["canaryTrafficPercent"] = 0
        version = service["metadata"]["resourceVersion"]
        self._cluster.merge(INFERENCE_SERVICES, self._service, {"spec": spec}, version=version)

    def move_model(self, rollout: Rollout) -> None:
        """See `Release`: the traffic has moved, and the model is the latest revision's."""

    def stable_ready(self, rollout: Rollout) -> bool:
        """See `Release`."""
        service = self._cluster.get(INFERENCE_SERVICES, self._service)
        if service is None or model_of(service) != rollout.candidate_model or not serves(service, ()):
            return False
        stable, candidate, ready = revisions(service)
        return stable == candidate and ready

    def remove_candidate(self, rollout: Rollout) -> None:
        """See `Release`: Knative collects revisions without traffic."""

    def register(self, rollout: Rollout, reason: str) -> None:
        """See `Release`."""
        register(self._registry, rollout, reason)


def revisions(service: Object) -> tuple[str, str, bool]:
    """Revision of the last completed rollout, the newest one, and whether the newest one is ready."""
    predictor: dict[str, Any] = ((service.get("status") or {}).get("components") or {}).get("predictor") or {}
    newest = predictor.get("latestCreatedRevision", "")
    ready = bool(newest) and predictor.get("latestReadyRevision") == newest
    return predictor.get("latestRolledoutRevision", ""), newest, ready


def register(registry: Registry | None, rollout: Rollout, reason: str) -> None:
    """Moves the alias `champion` to the candidate's model, if the registry knows it.

    Raises:
        UnavailableError: The registry does not answer for now.
    """
    if registry is None:
        return
    try:
        model = registry.by_package_version(rollout.candidate_model.rpartition("/")[2])
        if model is None:
            _LOG.warning("%s is not in the registry: no alias moves", rollout.candidate_model)
            return
        registry.promote(model, by=rollout.started_by or f"rollout {rollout.id}", reason=reason)
    except (RegistryError, OSError) as error:
        raise UnavailableError(str(error)) from error


def resolve_model(package: str, *, stable_model: str, name: str, registry: Registry | None) -> str:
    """The storage URI of a candidate: always of one version, never of an alias, which may move.

    Args:
        package: Version of a package, an alias or a number in the registry, or a whole storage URI.
        stable_model: Storage URI that stable serves; the candidate's lies beside it.
        name: The registered model.
        registry: Where aliases are looked up; without one only versions and URIs are known.

    Raises:
        RegistryError: The registry does not know it.
    """
    if "://" in package:
        return package
    version = package
    if registry is not None:
        version = _registered(registry, name, package).package_version
    elif not _VERSION.fullmatch(package):
        raise RegistryError(
            f"{package!r} is no version of a package; without a registry give a version or a storage URI"
        )
    return f"{stable_model.rpartition('/')[0]}/{version}"


def _registered(registry: Registry, name: str, package: str) -> RegisteredModel:
    found = registry.by_package_version(package) or registry.by_alias(name, package)
    if found is None and package.isdecimal():
        found = registry.by_number(name, package)
    if found is None:
        raise RegistryError(
            f"{package!r} is neither a version of a package nor an alias or a number of the registered model {name!r}"
        )
    return found


def _again(error: ClusterError) -> UnavailableError:
    return UnavailableError(f"{error}; looking again")

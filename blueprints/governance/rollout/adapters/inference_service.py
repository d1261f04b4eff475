"""What an InferenceService serves, whether it is ready, and the candidate that belongs to it. Pure functions."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from blueprints.governance.rollout.adapters.cluster import ClusterError, Object

ROLES = ("predictor", "transformer", "explainer")
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
_STORAGE = "internal.serving.kserve.io/storage-initializer-sourceuri"
_OF_THE_OBJECT = ("kubectl.kubernetes.io/last-applied-configuration",)
_LONGEST_NAME = 63 - len("-candidate-transformer")


def candidate_name(service: str) -> str:
    """Name of a service's candidate."""
    return f"{service}-candidate"


def model_of(service: Object) -> str:
    """The storage URI of the model that an InferenceService names.

    Raises:
        ClusterError: It names none.
    """
    places = list(_places(service["spec"]))
    if not places:
        raise ClusterError(
            f"InferenceService {service['metadata']['name']!r} names no model: give it "
            "spec.predictor.model.storageUri, or the env STORAGE_URI where its containers are custom"
        )
    holder, key = places[0]
    return str(holder[key])


def with_model(spec: Object, model: str) -> Object:
    """The spec with another model, in every component that serves the predictor's."""
    changed: Object = copy.deepcopy(spec)
    places = list(_places(changed))
    before = places[0][0][places[0][1]] if places else None
    for holder, key in places:
        if holder[key] == before:
            holder[key] = model
    return changed


def candidate_of(stable: Object, model: str) -> Object:
    """The candidate of a live service: the same labels and components, another name and another model.

    What names the stable version's own pods, as the labels in a spread constraint, names the candidate's instead.

    Raises:
        ClusterError: The name is too long for a candidate's Services.
    """
    metadata, name = stable["metadata"], stable["metadata"]["name"]
    if len(name) > _LONGEST_NAME:
        raise ClusterError(f"{name!r}: a service that shall have a candidate has at most {_LONGEST_NAME} characters")
    annotations = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _OF_THE_OBJECT
    }
    return {
        "apiVersion": stable["apiVersion"],
        "kind": stable["kind"],
        "metadata": {
            "name": candidate_name(name),
            "namespace": metadata["namespace"],
            "labels": dict(metadata.get("labels") or {}),
            "annotations": annotations,
        },
        "spec": _renamed(with_model(stable["spec"], model), name),
    }


def serves(service: Object, deployments: Sequence[Object], *, complete: bool = False) -> bool:
    """Whether an InferenceService is ready with what its spec names, and no older replica is left.

    KServe's conditions alone do not say for which generation they are, so the Deployments are asked too. In Knative
    mode there are none, and the conditions are per revision.

    Args:
        service: The InferenceService.
        deployments: Its Deployments.
        complete: Whether all replicas must be available, as at the end of a rolling update.
    """
    conditions = {item["type"]: item["status"] for item in (service.get("status") or {}).get("conditions") or []}
    if conditions.get("Ready") != "True":
        return False
    models = dict(_models(service["spec"]))
    return all(_rolled_out(deployment, models, complete=complete) for deployment in deployments)


def _rolled_out(deployment: Object, models: dict[str, str], *, complete: bool) -> bool:
    template = deployment["spec"]["template"]["metadata"]
    role = (template.get("labels") or {}).get("component", "")
    served = (template.get("annotations") or {}).get(_STORAGE)
    if served is not None and role in models and served != models[role]:
        return False
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 1):
        return False
    replicas, updated, available = (status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas"))
    return bool(replicas == updated and available >= (max(1, replicas) if complete else 1))


def _models(spec: Object) -> Iterator[tuple[str, str]]:
    """Role and storage URI of every component that names one."""
    for role in ROLES:
        for holder, key in _places({role: spec.get(role)}):
            yield role, str(holder[key])


def _places(spec: Object) -> Iterator[tuple[Object, str]]:
    """Where a spec names storage URIs: the object and its key."""
    for role in ROLES:
        component = spec.get(role) or {}
        if "storageUri" in (component.get("model") or {}):
            yield component["model"], "storageUri"
        for container in component.get("containers") or []:
            for entry in container.get("env") or []:
                if entry["name"] == "STORAGE_URI" and "value" in entry:
                    yield entry, "value"


def _renamed(value: Any, name: str, *, argument: bool = False) -> Any:
    """A copy in which selectors and predictor hosts mean the candidate's pods."""
    if isinstance(value, dict):
        return {
            key: candidate_name(name)
            if key == SERVICE_LABEL and item == name
            else _renamed(item, name, argument=key == "args")
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, name, argument=argument) for item in value]
    if argument and isinstance(value, str):
        return re.sub(rf"(^|=){re.escape(name)}-predictor(?=[.:]|$)", rf"\1{candidate_name(name)}-predictor", value)
    return value

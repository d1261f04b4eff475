"""The few calls to a Kubernetes API that a rollout makes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from blueprints.governance.rollout.ports import UnavailableError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
COMPONENT = "ml-deployment-blueprints"
_TIMEOUT_S = 5
_PASSING = frozenset({429, 500, 502, 503, 504})


class ClusterError(Exception):
    """The cluster cannot be reached, or refuses."""


class UnreachableError(ClusterError, UnavailableError):
    """The cluster does not answer for now."""


class ConflictError(ClusterError):
    """The object has changed since it was read, or is there already."""


class AbsentError(ClusterError):
    """There is no such object."""


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        api_version: As in `apiVersion: apps/v1`.
        name: As in `kind: Deployment`.
        plural: As in paths.
    """

    api_version: str
    name: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """Path of a collection or an object."""
        root = "api" if "/" not in self.api_version else "apis"
        return f"/{root}/{self.api_version}/namespaces/{namespace}/{self.plural}" + (f"/{name}" if name else "")


HTTP_ROUTES = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
INFERENCE_SERVICES = Kind("serving.kserve.io/v1beta1", "InferenceService", "inferenceservices")
DEPLOYMENTS = Kind("apps/v1", "Deployment", "deployments")
ENDPOINT_SLICES = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
CONFIG_MAPS = Kind("v1", "ConfigMap", "configmaps")
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENTS = Kind("v1", "Event", "events")


class Cluster:
    """One namespace of a cluster.

    Args:
        api: Knows server and credentials.
        namespace: Where all objects of the rollout live.
    """

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    @classmethod
    def connect(cls, namespace: str, *, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """Connects as the pod's ServiceAccount inside a cluster, else by a kubeconfig.

        Args:
            namespace: Where the service is.
            kubeconfig: A file; `KUBECONFIG` or the user's own if it is not given.
            context: A context of it; the current one if it is not given.

        Raises:
            ClusterError: There is neither, or no such context.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            if kubeconfig is None and context is None:
                try:
                    config.load_incluster_config(client_configuration=configuration)
                    return cls(_client(configuration), namespace)
                except config.ConfigException:
                    pass
            config.load_kube_config(
                # The library reads the environment once, when it is imported.
                config_file=os.environ.get("KUBECONFIG") if kubeconfig is None else str(kubeconfig),
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        except (config.ConfigException, OSError) as error:
            raise ClusterError(f"no cluster to speak to: {error}; give a kubeconfig or a context") from error
        return cls(_client(configuration), namespace)

    def get(self, kind: Kind, name: str) -> Object | None:
        """The object, None if there is none."""
        try:
            return self._call("GET", kind.path(self.namespace, name))
        except AbsentError:
            return None

    def require(self, kind: Kind, name: str) -> Object:
        """The object.

        Raises:
            AbsentError: There is none.
        """
        if (item := self.get(kind, name)) is None:
            raise AbsentError(f"there is no {kind.name} {name!r} in namespace {self.namespace!r}")
        return item

    def list(self, kind: Kind, labels: Mapping[str, str]) -> list[Object]:
        """The objects that carry all these labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        answer = self._call("GET", kind.path(self.namespace), query={"labelSelector": selector})
        items: list[Object] = answer.get("items") or []
        return items

    def create(self, kind: Kind, item: Mapping[str, Any]) -> Object:
        """Creates an object.

        Raises:
            ConflictError: It is there already.
        """
        body = {"apiVersion": kind.api_version, "kind": kind.name, **item}
        return self._call("POST", kind.path(self.namespace), body)

    def merge(self, kind: Kind, name: str, patch: Mapping[str, Any], *, version: str = "") -> Object:
        """JSON merge patch.

        Args:
            kind: Kind of the object.
            name: Its name.
            patch: What changes; lists are replaced as a whole.
            version: The resourceVersion that it must still have.

        Raises:
            ConflictError: It has another one by now.
            AbsentError: It is gone.
        """
        body = {**patch, "metadata": {**patch.get("metadata", {}), **({"resourceVersion": version} if version else {})}}
        return self._call("PATCH", kind.path(self.namespace, name), body)

    def replace(self, kind: Kind, item: Mapping[str, Any]) -> Object:
        """Replaces an object by one with the same name and resourceVersion.

        Raises:
            ConflictError: It has another one by now.
        """
        return self._call("PUT", kind.path(self.namespace, item["metadata"]["name"]), item)

    def delete(self, kind: Kind, item: Mapping[str, Any]) -> None:
        """Deletes this very object; if it is gone, or another one has its name by now, nothing happens."""
        body = {"preconditions": {"uid": item["metadata"]["uid"]}, "propagationPolicy": "Background"}
        try:
            self._call("DELETE", kind.path(self.namespace, item["metadata"]["name"]), body)
        except (AbsentError, ConflictError):
            return

    def event(self, kind: Kind, regarding: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Records an Event, which `kubectl describe` and `kubectl events` show; a cluster that refuses is no error."""
        metadata = regarding["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": self.namespace},
            "involvedObject": {
                "apiVersion": kind.api_version,
                "kind": kind.name,
                "name": metadata["name"],
                "namespace": self.namespace,
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "source": {"component": COMPONENT},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self.create(EVENTS, event)
        except ClusterError:
            return

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            response = self._api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": kind},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=_TIMEOUT_S,
            )
            answer: Object = json.loads(response.data)
        except ApiException as error:
            if error.status in _PASSING:
                raise UnreachableError(f"{method} {path}: the cluster answers {error.status}") from error
            refusal = {404: AbsentError, 409: ConflictError}.get(error.status, ClusterError)
            raise refusal(f"{method} {path}: {_message(error.body) or error.reason}") from error
        except (HTTPError, OSError, ValueError) as error:
            raise UnreachableError(f"{method} {path}: the cluster does not answer ({type(error).__name__})") from error
        return answer


def _client(configuration: Any) -> ApiClient:
    from kubernetes import client

    # A rollout looks again by itself; a retry inside a call would only keep it from acting.
    configuration.retries = False
    return client.ApiClient(configuration)


def _message(body: str | bytes | None) -> str:
    """What a Status object says."""
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except (ValueError, AttributeError):
        return ""

"""Every resource that the API serves: the table from which routes, discovery and printing follow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from localcluster.render import Object


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`.

    Attributes:
        name: Its heading.
        path: JSONPath to its value, as in a CRD's `additionalPrinterColumns`; empty if `printing` computes it.
        type: `string`, `integer`, `boolean` or `date` (printed as an age).
        wide: Whether only `-o wide` shows it.
    """

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True)
class Resource:
    """A kind of object.

    Attributes:
        group: API group; empty for core.
        version: Version of the group.
        kind: As in `kind: Pod`.
        plural: As in paths.
        namespaced: Whether its objects live in namespaces.
        short_names: What kubectl users type.
        categories: `all` for what `kubectl get all` shows.
        subresources: Among `status`, `scale`, `log`.
        columns: What `kubectl get` shows beside name and age.
        custom: Whether it stands for a custom resource: no strategic merge patch.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    custom: bool = False

    @property
    def api_version(self) -> str:
        """As in `apiVersion: apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> str:
        """Where its objects are kept: all versions of a kind share one store."""
        return f"{self.group}/{self.plural}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """As in `kubectl get pod`."""
        return self.kind.lower()

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of a collection, an object or a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(("namespaces", namespace) if self.namespaced and namespace else ()), self.plural]
        return "/".join([*parts, *((name,) if name else ()), *((subresource,) if subresource else ())])


@cache
def by_kind() -> dict[tuple[str, str], Resource]:
    """Resources by `(apiVersion, kind)`."""
    return {(resource.api_version, resource.kind): resource for resource in RESOURCES}


def resource_of(item: Object) -> Resource | None:
    """The resource of an object, None for a kind that the API does not serve."""
    return by_kind().get((item.get("apiVersion", ""), item.get("kind", "")))


_ALL = ("all",)
_WORKLOAD = (
    Column("Containers", "", wide=True),
    Column("Images", "", wide=True),
    Column("Selector", "", wide=True),
)


def _condition(name: str) -> Column:
    return Column(name, f'.status.conditions[?(@.type=="{name}")].status')


NAMESPACES = Resource(
    "",
    "v1",
    "Namespace",
    "namespaces",
    False,
    ("ns",),
    subresources=("status",),
    columns=(Column("Status", ".status.phase"),),
)
PODS = Resource(
    "",
    "v1",
    "Pod",
    "pods",
    True,
    ("po",),
    _ALL,
    ("status", "log"),
    (
        Column("Ready", ""),
        Column("Status", ""),
        Column("Restarts", ""),
        Column("IP", ".status.podIP", wide=True),
        Column("Node", ".spec.nodeName", wide=True),
    ),
)
SERVICES = Resource(
    "",
    "v1",
    "Service",
    "services",
    True,
    ("svc",),
    _ALL,
    ("status",),
    (
        Column("Type", ".spec.type"),
        Column("Cluster-IP", ".spec.clusterIP"),
        Column("External-IP", ""),
        Column("Port(s)", ""),
        Column("Selector", "", wide=True),
    ),
)
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps", True, ("cm",), columns=(Column("Data", "", "integer"),))
SECRETS = Resource("", "v1", "Secret", "secrets", columns=(Column("Type", ".type"), Column("Data", "", "integer")))
SERVICE_ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",))
PERSISTENT_VOLUME_CLAIMS = Resource(
    "",
    "v1",
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    True,
    ("pvc",),
    subresources=("status",),
    columns=(
        Column("Status", ".status.phase"),
        Column("Volume", ".spec.volumeName"),
        Column("Capacity", ".status.capacity.storage"),
        Column("Access Modes", ""),
        Column("StorageClass", ".spec.storageClassName"),
    ),
)
EVENTS = Resource(
    "",
    "v1",
    "Event",
    "events",
    True,
    ("ev",),
    columns=(
        Column("Last Seen", ""),
        Column("Type", ".type"),
        Column("Reason", ".reason"),
        Column("Object", ""),
        Column("Source", ".source.component", wide=True),
        Column("Message", ".message"),
        Column("First Seen", "", wide=True),
        Column("Count", ".count", "integer", wide=True),
    ),
)
DEPLOYMENTS = Resource(
    "apps",
    "v1",
    "Deployment",
    "deployments",
    True,
    ("deploy",),
    _ALL,
    ("status", "scale"),
    (Column("Ready", ""), Column("Up-to-date", "", "integer"), Column("Available", "", "integer"), *_WORKLOAD),
)
REPLICA_SETS = Resource(
    "apps",
    "v1",
    "ReplicaSet",
    "replicasets",
    True,
    ("rs",),
    _ALL,
    ("status", "scale"),
    (
        Column("Desired", ".spec.replicas", "integer"),
        Column("Current", "", "integer"),
        Column("Ready", "", "integer"),
        *_WORKLOAD,
    ),
)
JOBS = Resource(
    "batch",
    "v1",
    "Job",
    "jobs",
    True,
    (),
    _ALL,
    ("status",),
    (Column("Status", ""), Column("Completions", ""), Column("Duration", ""), *_WORKLOAD),
)
CRON_JOBS = Resource(
    "batch",
    "v1",
    "CronJob",
    "cronjobs",
    True,
    ("cj",),
    _ALL,
    ("status",),
    (
        Column("Schedule", ".spec.schedule"),
        Column("Timezone", ".spec.timeZone"),
        Column("Suspend", ".spec.suspend", "boolean"),
        Column("Active", "", "integer"),
        Column("Last Schedule", ".status.lastScheduleTime", "date"),
        *_WORKLOAD,
    ),
)
HORIZONTAL_POD_AUTOSCALERS = Resource(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    True,
    ("hpa",),
    _ALL,
    ("status",),
    (
        Column("Reference", ""),
        Column("Targets", ""),
        Column("MinPods", ".spec.minReplicas", "integer"),
        Column("MaxPods", ".spec.maxReplicas", "integer"),
        Column("Replicas", ".status.currentReplicas", "integer"),
    ),
)
POD_DISRUPTION_BUDGETS = Resource(
    "policy",
    "v1",
    "PodDisruptionBudget",
    "poddisruptionbudgets",
    True,
    ("pdb",),
    (),
    ("status",),
    (
        Column("Min Available", ".spec.minAvailable"),
        Column("Max Unavailable", ".spec.maxUnavailable"),
        Column("Allowed Disruptions", ".status.disruptionsAllowed", "integer"),
    ),
)
NETWORK_POLICIES = Resource(
    "networking.k8s.io",
    "v1",
    "NetworkPolicy",
    "networkpolicies",
    True,
    ("netpol",),
    columns=(Column("Pod-Selector", ""),),
)
ENDPOINT_SLICES = Resource(
    "discovery.k8s.io",
    "v1",
    "EndpointSlice",
    "endpointslices",
    columns=(Column("AddressType", ".addressType"), Column("Ports", ""), Column("Endpoints", "")),
)
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases", columns=(Column("Holder", ".spec.holderIdentity"),))
_TRAFFIC = ".status.components.predictor.traffic"
INFERENCE_SERVICES = Resource(
    "serving.kserve.io",
    "v1beta1",
    "InferenceService",
    "inferenceservices",
    True,
    ("isvc",),
    _ALL,
    ("status",),
    (
        Column("URL", ".status.url"),
        _condition("Ready"),
        Column("Prev", f"{_TRAFFIC}[?(@.tag=='prev')].percent", "integer"),
        Column("Latest", f"{_TRAFFIC}[?(@.latestRevision==true)].percent", "integer"),
        Column("PrevRolledoutRevision", f"{_TRAFFIC}[?(@.tag=='prev')].revisionName"),
        Column("LatestReadyRevision", f"{_TRAFFIC}[?(@.latestRevision==true)].revisionName"),
    ),
    custom=True,
)
_RUNTIME = (
    Column("Disabled", ".spec.disabled", "boolean"),
    Column("ModelType", ".spec.supportedModelFormats[*].name"),
    Column("Containers", ".spec.containers[*].name"),
)
SERVING_RUNTIMES = Resource(
    "serving.kserve.io",
    "v1alpha1",
    "ServingRuntime",
    "servingruntimes",
    subresources=("status",),
    columns=_RUNTIME,
    custom=True,
)
CLUSTER_SERVING_RUNTIMES = Resource(
    "serving.kserve.io",
    "v1alpha1",
    "ClusterServingRuntime",
    "clusterservingruntimes",
    False,
    subresources=("status",),
    columns=_RUNTIME,
    custom=True,
)
GATEWAY_CLASSES = Resource(
    "gateway.networking.k8s.io",
    "v1",
    "GatewayClass",
    "gatewayclasses",
    False,
    ("gc",),
    (),
    ("status",),
    (
        Column("Controller", ".spec.controllerName"),
        _condition("Accepted"),
        Column("Description", ".spec.description", wide=True),
    ),
    custom=True,
)
GATEWAYS = Resource(
    "gateway.networking.k8s.io",
    "v1",
    "Gateway",
    "gateways",
    True,
    ("gtw",),
    (),
    ("status",),
    (
        Column("Class", ".spec.gatewayClassName"),
        Column("Address", ".status.addresses[*].value"),
        _condition("Programmed"),
    ),
    custom=True,
)
_HOSTNAMES = (Column("Hostnames", ".spec.hostnames"),)
HTTP_ROUTES = Resource(
    "gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", True, (), (), ("status",), _HOSTNAMES, custom=True
)
GRPC_ROUTES = Resource(
    "gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes", True, (), (), ("status",), _HOSTNAMES, custom=True
)
TLS_ROUTES = Resource(
    "gateway.networking.k8s.io", "v1", "TLSRoute", "tlsroutes", True, (), (), ("status",), custom=True
)
BACKEND_TLS_POLICIES = Resource(
    "gateway.networking.k8s.io", "v1", "BackendTLSPolicy", "backendtlspolicies", True, (), (), ("status",), custom=True
)
REFERENCE_GRANTS = Resource("gateway.networking.k8s.io", "v1", "ReferenceGrant", "referencegrants", custom=True)
REFERENCE_GRANTS_V1BETA1 = Resource(
    "gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants", custom=True
)

RESOURCES = (
    NAMESPACES,
    PODS,
    SERVICES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    PERSISTENT_VOLUME_CLAIMS,
    EVENTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    JOBS,
    CRON_JOBS,
    HORIZONTAL_POD_AUTOSCALERS,
    POD_DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    ENDPOINT_SLICES,
    LEASES,
    INFERENCE_SERVICES,
    SERVING_RUNTIMES,
    CLUSTER_SERVING_RUNTIMES,
    GATEWAY_CLASSES,
    GATEWAYS,
    HTTP_ROUTES,
    GRPC_ROUTES,
    TLS_ROUTES,
    BACKEND_TLS_POLICIES,
    REFERENCE_GRANTS,
    REFERENCE_GRANTS_V1BETA1,
)

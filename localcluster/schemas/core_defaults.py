"""What an API server sets where a core object leaves it out; defaults that depend on other fields are `admission`'s."""

from __future__ import annotations

from typing import Any

_CORE = "io.k8s.api.core.v1"
_FILE_MODE = {"defaultMode": 0o644}

# By definition and field.
DEFAULTS: dict[str, dict[str, Any]] = {
    f"{_CORE}.ConfigMapVolumeSource": _FILE_MODE,
    f"{_CORE}.Container": {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    },
    f"{_CORE}.ContainerPort": {"protocol": "TCP"},
    f"{_CORE}.DownwardAPIVolumeSource": _FILE_MODE,
    f"{_CORE}.GRPCAction": {"service": ""},
    f"{_CORE}.HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    f"{_CORE}.ObjectFieldSelector": {"apiVersion": "v1"},
    f"{_CORE}.PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    f"{_CORE}.PodSpec": {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    },
    f"{_CORE}.Probe": {"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
    f"{_CORE}.ProjectedVolumeSource": _FILE_MODE,
    f"{_CORE}.Secret": {"type": "Opaque"},
    f"{_CORE}.SecretVolumeSource": _FILE_MODE,
    f"{_CORE}.ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    f"{_CORE}.ServicePort": {"protocol": "TCP"},
    f"{_CORE}.ServiceSpec": {
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None",
        "type": "ClusterIP",
    },
    "io.k8s.api.apps.v1.DeploymentSpec": {
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "strategy": {},
    },
    "io.k8s.api.apps.v1.DeploymentStrategy": {"type": "RollingUpdate"},
    "io.k8s.api.apps.v1.ReplicaSetSpec": {"replicas": 1},
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec": {"minReplicas": 1},
    "io.k8s.api.batch.v1.CronJobSpec": {
        "concurrencyPolicy": "Allow",
        "failedJobsHistoryLimit": 1,
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    },
    "io.k8s.api.batch.v1.JobSpec": {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False},
    "io.k8s.api.discovery.v1.EndpointPort": {"name": "", "protocol": "TCP"},
    "io.k8s.api.networking.v1.NetworkPolicyPort": {"protocol": "TCP"},
}

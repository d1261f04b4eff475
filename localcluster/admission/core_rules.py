"""Rules of core kinds beyond their schemas, with an API server's messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from localcluster.admission.core_defaults import pod_spec
from localcluster.admission.pods import (
    forbidden,
    missing,
    not_negative,
    one_of,
    pod_causes,
    port,
    port_name,
    unique,
    wrong,
)
from localcluster.api.errors import Cause
from localcluster.render import Object

_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_PERCENT = re.compile(r"[0-9]+%")
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")
_LONGEST_CRON_JOB = 52
# Kinds that are nothing without a spec, though their schema does not ask for one.
_SPECIFIED = {"Pod", "Job", "CronJob", "Service", "HorizontalPodAutoscaler", "ReplicaSet"}


def core_causes(item: Object) -> list[Cause]:
    """What is wrong with a well-formed object of a core kind that has its defaults; none for another kind."""
    if "spec" not in item and item["kind"] in _SPECIFIED:
        return [missing("spec")]
    found: list[Cause] = []
    if (pod := pod_spec(item)) is not None:
        found += pod_causes(*pod)
    if (rules := _RULES.get(item["kind"])) is not None:
        found += rules(item)
    return found


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector selects what has these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for term in selector.get("matchExpressions", []):
        value, values = labels.get(term["key"]), term.get("values", [])
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(term["operator"], False):
            return False
    return True


def _selector_causes(path: str, selector: Object) -> Iterator[Cause]:
    for value in selector.get("matchLabels", {}).values():
        if not _LABEL.fullmatch(value):
            rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            yield wrong(f"{path}.matchLabels", value, rule)
    for index, term in enumerate(selector.get("matchExpressions", [])):
        where = f"{path}.matchExpressions[{index}]"
        yield from one_of(f"{where}.operator", term["operator"], _OPERATORS)
        if term["operator"] in {"In", "NotIn"} and not term.get("values"):
            yield missing(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        if term["operator"] in {"Exists", "DoesNotExist"} and term.get("values"):
            yield forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")


def _template_causes(item: Object) -> Iterator[Cause]:
    """Of what makes pods by a template, and knows them by a selector."""
    spec = item["spec"]
    selector = spec.get("selector")
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield missing("spec.selector", f"empty selector is invalid for {item['kind'].lower()}")
        return
    yield from _selector_causes("spec.selector", selector)
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    if not selects(selector, labels):
        message = "`selector` does not match template `labels`"
        yield wrong("spec.template.metadata.labels", labels, message)
    if (pod := pod_spec(item)) is None:
        yield missing("spec.template.spec")
    else:
        yield from one_of(f"{pod[0]}.restartPolicy", pod[1]["restartPolicy"], ("Always",))
    for field in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        yield from not_negative(f"spec.{field}", spec.get(field))


def _deployment_causes(deployment: Object) -> Iterator[Cause]:
    yield from _template_causes(deployment)
    spec = deployment["spec"]
    deadline, ready = spec["progressDeadlineSeconds"], spec.get("minReadySeconds", 0)
    if deadline <= ready:
        yield wrong("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    strategy, path = spec["strategy"], "spec.strategy"
    yield from one_of(f"{path}.type", strategy["type"], ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "Recreate" and rolling is not None:
        yield forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif rolling is not None:
        causes = [
            cause
            for field in ("maxUnavailable", "maxSurge")
            for cause in _amount_causes(f"{path}.rollingUpdate.{field}", rolling[field])
        ]
        yield from causes
        if not causes and _is_zero(rolling["maxUnavailable"]) and _is_zero(rolling["maxSurge"]):
            message = "may not be 0 when `maxSurge` is 0"
            yield wrong(f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], message)


def _amount_causes(path: str, value: int | str) -> Iterator[Cause]:
    if isinstance(value, int):
        yield from not_negative(path, value)
    elif not _PERCENT.fullmatch(value):
        yield wrong(
            path, value, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%')"
        )


def _is_zero(value: int | str) -> bool:
    return int(str(value).rstrip("%")) == 0


def _job_causes(job: Object, path: str = "spec") -> Iterator[Cause]:
    if (spec := job.get("spec")) is None:
        yield missing(path)
        return
    for field in ("backoffLimit", "completions", "parallelism", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        yield from not_negative(f"{path}.{field}", spec.get(field))
    yield from one_of(f"{path}.completionMode", spec["completionMode"], ("Indexed", "NonIndexed"))
    pod = spec.get("template", {}).get("spec")
    if pod is None:
        yield missing(f"{path}.template.spec")
    elif pod["restartPolicy"] == "Always":
        yield missing(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _cron_job_causes(cron_job: Object) -> Iterator[Cause]:
    from croniter import croniter  # type: ignore[import-untyped]

    name, spec = cron_job["metadata"].get("name", ""), cron_job.get("spec", {})
    if len(name) > _LONGEST_CRON_JOB:
        yield wrong("metadata.name", name, f"must be no more than {_LONGEST_CRON_JOB} characters")
    if not croniter.is_valid(spec["schedule"]) or len(spec["schedule"].split()) > 5:
        yield wrong(
            "spec.schedule", spec["schedule"], "must be five fields (such as '*/5 * * * *') or a macro (@daily)"
        )
    yield from one_of("spec.concurrencyPolicy", spec["concurrencyPolicy"], ("Allow", "Forbid", "Replace"))
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from not_negative(f"spec.{field}", spec.get(field))
    yield from _job_causes(spec["jobTemplate"], "spec.jobTemplate.spec")


def _service_causes(service: Object) -> Iterator[Cause]:
    spec = service.get("spec", {})
    ports, kind = spec.get("ports", []), spec.get("type", "ClusterIP")
    yield from one_of("spec.type", kind, ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    yield from one_of("spec.sessionAffinity", spec.get("sessionAffinity", "None"), ("ClientIP", "None"))
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield missing("spec.ports")
    yield from unique("spec.ports[{}].name", [each.get("name") for each in ports])
    for index, each in enumerate(ports):
        where = f"spec.ports[{index}]"
        if len(ports) > 1 and not each.get("name"):
            yield missing(f"{where}.name")
        if each.get("name"):
            yield from port_name(f"{where}.name", each["name"])
        yield from port(f"{where}.port", each["port"])
        yield from one_of(f"{where}.protocol", each["protocol"], ("SCTP", "TCP", "UDP"))
        target = each["targetPort"]
        yield from (
            port(f"{where}.targetPort", target) if isinstance(target, int) else port_name(f"{where}.targetPort", target)
        )


def _data_causes(item: Object) -> Iterator[Cause]:
    for field in ("data", "binaryData", "stringData"):
        for key in item.get(field, {}):
            if not _DATA_KEY.fullmatch(key):
                rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                yield wrong(f"{field}[{key}]", key, rule)


def _autoscaler_causes(autoscaler: Object) -> Iterator[Cause]:
    spec = autoscaler.get("spec", {})
    least, most = spec["minReplicas"], spec["maxReplicas"]
    if least < 1:
        yield wrong("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield wrong("spec.maxReplicas", most, "must be greater than 0")
    elif most < least:
        yield wrong("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")


def _budget_causes(budget: Object) -> Iterator[Cause]:
    spec = budget.get("spec", {})
    if {"minAvailable", "maxUnavailable"} <= spec.keys():
        yield wrong("spec", _shown(spec), "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        if field in spec:
            yield from _amount_causes(f"spec.{field}", spec[field])
    yield from _selector_causes("spec.selector", spec.get("selector", {}))


def _shown(spec: Object) -> dict[str, Any]:
    return {field: spec[field] for field in ("minAvailable", "maxUnavailable")}


def _network_policy_causes(policy: Object) -> Iterator[Cause]:
    spec = policy.get("spec", {})
    for index, kind in enumerate(spec.get("policyTypes", [])):
        yield from one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    yield from _selector_causes("spec.podSelector", spec.get("podSelector", {}))
    for field in ("ingress", "egress"):
        for number, rule in enumerate(spec.get(field, [])):
            for index, each in enumerate(rule.get("ports", [])):
                if isinstance(each.get("port"), int):
                    yield from port(f"spec.{field}[{number}].ports[{index}].port", each["port"])


_RULES: dict[str, Callable[[Object], Iterator[Cause]]] = {
    "Deployment": _deployment_causes,
    "ReplicaSet": _template_causes,
    "Job": _job_causes,
    "CronJob": _cron_job_causes,
    "Service": _service_causes,
    "ConfigMap": _data_causes,
    "Secret": _data_causes,
    "HorizontalPodAutoscaler": _autoscaler_causes,
    "PodDisruptionBudget": _budget_causes,
    "NetworkPolicy": _network_policy_causes,
}

"""Rules of Gateway API that join several fields: its CRDs' CEL rules, with their messages.

Each gets a well-formed value that has its defaults.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from localcluster.render import Object
from localcluster.schemas.structural import Rule

_HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_PATH = r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
)
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_GRPC_SERVICE = r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$"
_GRPC_METHOD = r"^[A-Za-z_][A-Za-z_0-9]*$"


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value) is not None


def _plain_path(holds: Callable[[str], bool]) -> Callable[[Object], bool]:
    return lambda match: match["type"] == "RegularExpression" or holds(match["value"])


def _lacks(part: str) -> Rule:
    return Rule(
        _plain_path(lambda value: part not in value),
        f"must not contain '{part}' when type one of ['Exact', 'PathPrefix']",
    )


def _ends_without(part: str) -> Rule:
    return Rule(
        _plain_path(lambda value: not value.endswith(part)),
        f"must not end with '{part}' when type one of ['Exact', 'PathPrefix']",
    )


PATH_MATCH = (
    Rule(
        _plain_path(lambda value: value.startswith("/")),
        "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
    ),
    *(_lacks(part) for part in ("//", "/./", "/../", "%2f", "%2F", "#")),
    _ends_without("/.."),
    _ends_without("/."),
    Rule(
        _plain_path(lambda value: _matches(_PATH, value)),
        f"must only contain valid characters (matching {_PATH}) for types ['Exact', 'PathPrefix']",
    ),
)


def _replaces_by(field: str, name: str) -> tuple[Rule, ...]:
    return (
        Rule(
            lambda path: path["type"] != name or field in path,
            f"{field} must be specified when type is set to '{name}'",
        ),
        Rule(
            lambda path: field not in path or path["type"] == name,
            f"type must be '{name}' when {field} is set",
        ),
    )


PATH_MODIFIER = (
    *_replaces_by("replaceFullPath", "ReplaceFullPath"),
    *_replaces_by("replacePrefixMatch", "ReplacePrefixMatch"),
)

BACKEND = (
    Rule(
        lambda backend: (backend["group"], backend["kind"]) != ("", "Service") or "port" in backend,
        "Must have port for Service reference",
    ),
)
FRACTION = (
    Rule(
        lambda fraction: fraction["numerator"] <= fraction["denominator"],
        "numerator must be less than or equal to denominator",
    ),
)
MIRROR = (
    Rule(
        lambda mirror: not {"percent", "fraction"} <= mirror.keys(),
        "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
    ),
)


def star_alone(field: str, others: str) -> tuple[Rule, ...]:
    """A list with `*` has nothing else."""
    message = f"{field} cannot contain '*' alongside other {others}"
    return (Rule(lambda values: "*" not in values or len(values) == 1, message),)


def filter_field(name: str) -> str:
    """The field that holds the settings of a type of filter, such as `urlRewrite` for `URLRewrite`."""
    return {"CORS": "cors", "URLRewrite": "urlRewrite"}.get(name, name[0].lower() + name[1:])


def filter_union(types: Sequence[str]) -> tuple[Rule, ...]:
    """A filter has the field of its type, and no other."""

    def rules(name: str, field: str) -> Iterator[Rule]:
        yield Rule(
            lambda given: field not in given or given["type"] == name,
            f"filter.{field} must be nil if the filter.type is not {name}",
        )
        yield Rule(
            lambda given: field in given or given["type"] != name,
            f"filter.{field} must be specified for {name} filter.type",
        )

    return tuple(rule for name in types for rule in rules(name, filter_field(name)))


def filter_list(types: Sequence[str]) -> tuple[Rule, ...]:
    """Which filters may stand beside each other."""

    def once(name: str) -> Rule:
        return Rule(
            lambda filters: Counter(given["type"] for given in filters)[name] <= 1, f"{name} filter cannot be repeated"
        )

    either = Rule(
        lambda filters: not {"RequestRedirect", "URLRewrite"} <= {given["type"] for given in filters},
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
    )
    return (either, *(once(name) for name in types if name not in {"RequestMirror", "ExtensionRef"}))


def milliseconds(duration: str) -> int:
    """A duration such as `1m30s` in milliseconds."""
    parts = re.findall(r"(\d+)(ms|h|m|s)", duration)
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in parts)


TIMEOUTS = (
    Rule(
        lambda given: (
            not {"request", "backendRequest"} <= given.keys()
            or milliseconds(given["request"]) == 0
            or milliseconds(given["backendRequest"]) <= milliseconds(given["request"])
        ),
        "backendRequest timeout cannot be longer than request timeout",
    ),
)


def _replaces_prefix(filters: Sequence[Object], field: str) -> bool:
    paths = [given.get(field, {}).get("path", {}) for given in filters]
    return sum("replacePrefixMatch" in path for path in paths) == 1


def _one_prefix(rule: Object) -> bool:
    matches = rule["matches"]
    return len(matches) == 1 and matches[0]["path"]["type"] == "PathPrefix"


def _of_rule(field: str) -> Callable[[Object], bool]:
    return lambda rule: not _replaces_prefix(rule.get("filters", []), field) or _one_prefix(rule)


def _of_backends(field: str) -> Callable[[Object], bool]:
    def holds(rule: Object) -> bool:
        backends = rule.get("backendRefs", [])
        return sum(_replaces_prefix(part.get("filters", []), field) for part in backends) != 1 or _one_prefix(rule)

    return holds


_PREFIX = "filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"
HTTP_RULE = (
    Rule(
        lambda rule: (
            not rule.get("backendRefs") or not any("requestRedirect" in given for given in rule.get("filters", []))
        ),
        "RequestRedirect filter must not be used together with backendRefs",
    ),
    Rule(_of_rule("requestRedirect"), f"When using RequestRedirect {_PREFIX}"),
    Rule(_of_rule("urlRewrite"), f"When using URLRewrite {_PREFIX}"),
    Rule(_of_backends("requestRedirect"), f"Within backendRefs, when using RequestRedirect {_PREFIX}"),
    Rule(_of_backends("urlRewrite"), f"Within backendRefs, When using URLRewrite {_PREFIX}"),
)
ROUTE_RULES = (
    Rule(
        lambda rules: sum(len(rule.get("matches", [])) for rule in rules) <= 128,
        "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route "
        "must be less than 128",
    ),
)


def _by_parent(parents: Sequence[Object]) -> list[list[str]]:
    sections: dict[tuple[Any, ...], list[str]] = {}
    for parent in parents:
        key = (parent["group"], parent["kind"], parent["name"], parent.get("namespace"))
        sections.setdefault(key, []).append(parent.get("sectionName", ""))
    return list(sections.values())


PARENTS = (
    Rule(
        lambda parents: all(all(names) or not any(names) for names in _by_parent(parents)),
        "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
    ),
    Rule(
        lambda parents: all(len(set(names)) == len(names) for names in _by_parent(parents)),
        "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
    ),
)
GRPC_METHOD = (
    Rule(
        lambda given: bool({"service", "method"} & given.keys()),
        "One or both of 'service' or 'method' must be specified",
    ),
    Rule(
        lambda given: (
            given["type"] != "Exact"
            or re.fullmatch(r"\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*", given.get("service", "a"), re.IGNORECASE)
            is not None
        ),
        f"service must only contain valid characters (matching {_GRPC_SERVICE})",
    ),
    Rule(
        lambda given: given["type"] != "Exact" or _matches(_GRPC_METHOD, given.get("method", "a")),
        f"method must only contain valid characters (matching {_GRPC_METHOD})",
    ),
)


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


ADDRESS = (
    Rule(
        lambda given: given["type"] != "Hostname" or not given.get("value") or _matches(_HOSTNAME, given["value"]),
        f"Hostname value must be empty or contain only valid characters (matching {_HOSTNAME})",
    ),
    Rule(
        lambda given: given["type"] != "IPAddress" or "value" not in given or _is_ip(given["value"]),
        "value must be an IP address when type is IPAddress",
    ),
)


def _unique_values(kind: str) -> Rule:
    def holds(addresses: Sequence[Object]) -> bool:
        values = [given["value"] for given in addresses if given["type"] == kind and "value" in given]
        return len(set(values)) == len(values)

    return Rule(holds, f"{kind} values must be unique")


ADDRESSES = (_unique_values("IPAddress"), _unique_values("Hostname"))
LISTENER_TLS = (
    Rule(
        lambda tls: tls["mode"] != "Terminate" or bool(tls.get("certificateRefs") or tls.get("options")),
        "certificateRefs or options must be specified when mode is Terminate",
    ),
)


def _each(holds: Callable[[Object], bool]) -> Callable[[Sequence[Object]], bool]:
    return lambda listeners: all(holds(listener) for listener in listeners)


def _unique_endpoints(listeners: Sequence[Object]) -> bool:
    keys = [(given["port"], given["protocol"], given.get("hostname")) for given in listeners]
    return len(set(keys)) == len(keys)


LISTENERS = (
    Rule(
        _each(lambda given: given["protocol"] not in {"HTTP", "TCP", "UDP"} or "tls" not in given),
        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
    ),
    Rule(
        _each(
            lambda given: given["protocol"] != "HTTPS" or given.get("tls", {"mode": "Terminate"})["mode"] == "Terminate"
        ),
        "tls mode must be Terminate for protocol HTTPS",
    ),
    Rule(
        _each(lambda given: given["protocol"] != "TLS" or "tls" in given),
        "tls mode must be set for protocol TLS",
    ),
    Rule(
        _each(lambda given: given["protocol"] not in {"TCP", "UDP"} or "hostname" not in given),
        "hostname must not be specified for protocols ['TCP', 'UDP']",
    ),
    Rule(_unique_endpoints, "Combination of port, protocol and hostname must be unique for each listener"),
)


def qualified_keys(kind: str, lower: str) -> tuple[Rule, ...]:
    """Keys of labels or annotations: a name, with a DNS prefix or without."""
    return (
        Rule(
            lambda given: all(_KEY.fullmatch(key) for key in given),
            f"{kind} keys must be in the form of an optional DNS subdomain prefix followed by a required name segment "
            "of up to 63 characters.",
        ),
        Rule(
            lambda given: all(len(key.split("/")[0]) < 253 for key in given),
            f"If specified, the {lower} key's prefix must be a DNS subdomain not longer than 253 characters in total.",
        ),
    )

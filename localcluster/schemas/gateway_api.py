"""Schemas and defaults of Gateway API (standard channel): what its CustomResourceDefinitions say, written small.

TLSRoute and BackendTLSPolicy are watched by the gateway but used by nobody here, so their form stays open.
https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from localcluster.schemas import gateway_rules as rules
from localcluster.schemas.structural import Rule, Schema

_GROUP = "gateway.networking.k8s.io"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def _text(pattern: str = "", least: int = 0, most: int = 0, default: str | None = None) -> Schema:
    limits = {"pattern": pattern, "minLength": least, "maxLength": most}
    given: Schema = {key: value for key, value in limits.items() if value}
    return {"type": "string", **given, **({} if default is None else {"default": default})}


def _choice(*options: str, default: str = "") -> Schema:
    return {"type": "string", "enum": list(options), **({"default": default} if default else {})}


def _number(least: int | None = None, most: int | None = None, default: int | None = None) -> Schema:
    limits = {"minimum": least, "maximum": most, "default": default}
    return {"type": "integer", "format": "int32", **{key: value for key, value in limits.items() if value is not None}}


def _object(required: str = "", *, rules: Sequence[Rule] = (), default: Any = None, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "rules": rules,
        **({} if default is None else {"default": default}),
    }


def _array(
    items: Schema, most: int, least: int = 0, *, keys: str = "", rules: Sequence[Rule] = (), default: Any = None
) -> Schema:
    made: Schema = {"type": "array", "items": items, "maxItems": most, "minItems": least, "rules": rules}
    if keys:
        made |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys.split()}
    return made if default is None else {**made, "default": default}


def _set(items: Schema, most: int, *, rules: Sequence[Rule] = ()) -> Schema:
    return {**_array(items, most, rules=rules), "x-kubernetes-list-type": "set"}


def _map(values: Schema, most: int = 0, *, rules: Sequence[Rule] = ()) -> Schema:
    limit = {"maxProperties": most} if most else {}
    return {"type": "object", "additionalProperties": values, "rules": rules, **limit}


def _group(default: str | None = None) -> Schema:
    return _text(f"^$|^{_SUBDOMAIN}$", 0, 253, default)


def _kind(default: str | None = None) -> Schema:
    return _text("^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", 1, 63, default)


_NAME = _text("", 1, 253)
_NAMESPACE = _text("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 1, 63)
_SECTION = _text(f"^{_SUBDOMAIN}$", 1, 253)
_HOSTNAME = _text(rf"^(\*\.)?{_SUBDOMAIN}$", 1, 253)
_PORT = _number(1, 65535)
_HEADER_NAME = _text(r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$", 1, 256)
_HEADER_VALUE = _text("", 1, 4096)
_DURATION = _text("^([0-9]{1,5}(h|m|s|ms)){1,4}$")
_CONTROLLER = _text(rf"^{_SUBDOMAIN}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$", 1, 253)
_ANY_STRING: Schema = {"type": "string"}
_STRINGS: Schema = {"type": "array", "items": _ANY_STRING}
_SELECTOR = _object(
    matchLabels={"type": "object", "additionalProperties": _ANY_STRING},
    matchExpressions={
        "type": "array",
        "items": _object("key operator", key=_ANY_STRING, operator=_ANY_STRING, values=_STRINGS),
    },
)
_PARENT = _object(
    "name",
    group=_group(_GROUP),
    kind=_kind("Gateway"),
    name=_NAME,
    namespace=_NAMESPACE,
    port=_PORT,
    sectionName=_SECTION,
)
_CONDITION = _object(
    "lastTransitionTime message reason status type",
    lastTransitionTime={"type": "string", "format": "date-time"},
    message=_text("", 0, 32768),
    observedGeneration={"type": "integer", "format": "int64", "minimum": 0},
    reason=_text("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", 1, 1024),
    status=_choice("True", "False", "Unknown"),
    type=_text(rf"^({_SUBDOMAIN}/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$", 0, 316),
)
_CONDITIONS = _array(_CONDITION, 8, keys="type")


def _waiting(*types: str) -> list[Schema]:
    """Conditions of an object that no controller has seen yet."""
    said = {"status": "Unknown", "reason": "Pending", "message": "Waiting for controller"}
    return [{"type": name, **said, "lastTransitionTime": "1970-01-01T00:00:00Z"} for name in types]


def _reference(required: str, *, group: str | None = None, kind: str | None = None, namespaced: bool = True) -> Schema:
    where: dict[str, Any] = {"namespace": _NAMESPACE} if namespaced else {}
    return _object(required, group=_group(group), kind=_kind(kind), name=_NAME, **where)


def _backend(**more: Schema) -> Schema:
    return _object(
        "name",
        group=_group(""),
        kind=_kind("Service"),
        name=_NAME,
        namespace=_NAMESPACE,
        port=_PORT,
        rules=rules.BACKEND,
        **more,
    )


def _filters(*types: str) -> Schema:
    header = _object("name value", name=_HEADER_NAME, value=_HEADER_VALUE)
    headers = _object(
        add=_array(header, 16, keys="name"), set=_array(header, 16, keys="name"), remove=_set(_ANY_STRING, 16)
    )
    path = _object(
        "type",
        type=_choice("ReplaceFullPath", "ReplacePrefixMatch"),
        replaceFullPath=_text("", 0, 1024),
        replacePrefixMatch=_text("", 0, 1024),
        rules=rules.PATH_MODIFIER,
    )
    hostname = _text(f"^{_SUBDOMAIN}$", 1, 253)
    origin = r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"
    shapes = {
        "RequestHeaderModifier": headers,
        "ResponseHeaderModifier": headers,
        "RequestMirror": _object(
            "backendRef",
            backendRef=_backend(),
            fraction=_object(
                "numerator", numerator=_number(0), denominator=_number(1, default=100), rules=rules.FRACTION
            ),
            percent=_number(0, 100),
            rules=rules.MIRROR,
        ),
        "RequestRedirect": _object(
            scheme=_choice("http", "https"),
            hostname=hostname,
            path=path,
            port=_PORT,
            statusCode={"type": "integer", "enum": [301, 302, 303, 307, 308], "default": 302},
        ),
        "URLRewrite": _object(hostname=hostname, path=path),
        "ExtensionRef": _reference("group kind name", namespaced=False),
        "CORS": _object(
            allowCredentials={"type": "boolean"},
            allowHeaders=_set(_HEADER_NAME, 64, rules=rules.star_alone("AllowHeaders", "methods")),
            allowMethods=_set(_choice(*_METHODS, "*"), 9, rules=rules.star_alone("AllowMethods", "methods")),
            allowOrigins=_set(_text(origin, 1, 253), 64, rules=rules.star_alone("AllowOrigins", "origins")),
            exposeHeaders=_set(_HEADER_NAME, 64),
            maxAge=_number(1, default=5),
        ),
    }
    properties: dict[str, Any] = {rules.filter_field(name): shapes[name] for name in types}
    one = _object("type", type=_choice(*types), **properties, rules=rules.filter_union(types))
    return _array(one, 16, rules=rules.filter_list(types))


def _matching(value_limit: int) -> Schema:
    kind = _choice("Exact", "RegularExpression", default="Exact")
    item = _object("name value", name=_HEADER_NAME, type=kind, value=_text("", 1, value_limit))
    return _array(item, 16, keys="name")


def _route(rule: Schema, *, least: int = 0, default: Any = None) -> Schema:
    parent = _object("conditions controllerName parentRef", parentRef=_PARENT, controllerName=_CONTROLLER)
    parent["properties"]["conditions"] = {**_CONDITIONS, "minItems": 1}
    spec = _object(parentRefs=_array(_PARENT, 32, rules=rules.PARENTS), hostnames=_array(_HOSTNAME, 16))
    spec["properties"]["rules"] = _array(rule, 16, least, rules=rules.ROUTE_RULES, default=default)
    return _object("spec", spec=spec, status=_object("parents", parents=_array(parent, 32)))


def _http_route() -> Schema:
    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    filters = _filters(
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "ExtensionRef",
        "CORS",
    )
    match = _object(
        path=_object(
            type=_choice("Exact", "PathPrefix", "RegularExpression", default="PathPrefix"),
            value=_text("", 0, 1024, "/"),
            default=everything["path"],
            rules=rules.PATH_MATCH,
        ),
        headers=_matching(4096),
        queryParams=_matching(1024),
        method=_choice(*_METHODS),
    )
    rule = _object(
        name=_SECTION,
        matches=_array(match, 64, default=[everything]),
        filters=filters,
        backendRefs=_array(_backend(weight=_number(0, 1_000_000, 1), filters=filters), 16),
        timeouts=_object(request=_DURATION, backendRequest=_DURATION, rules=rules.TIMEOUTS),
        rules=rules.HTTP_RULE,
    )
    return _route(rule, least=1, default=[{"matches": [everything]}])


def _grpc_route() -> Schema:
    filters = _filters("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
    method = _object(
        type=_choice("Exact", "RegularExpression", default="Exact"),
        service=_text("", 0, 1024),
        method=_text("", 0, 1024),
        rules=rules.GRPC_METHOD,
    )
    rule = _object(
        name=_SECTION,
        matches=_array(_object(method=method, headers=_matching(4096)), 64),
        filters=filters,
        backendRefs=_array(_backend(weight=_number(0, 1_000_000, 1), filters=filters), 16),
    )
    return _route(rule)


def _addresses(*, required: str = "") -> Schema:
    kind = rf"^Hostname|IPAddress|NamedAddress|{_SUBDOMAIN}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$"
    address = _object(
        required, type=_text(kind, 1, 253, "IPAddress"), value=_text("", 1 if required else 0, 253), rules=rules.ADDRESS
    )
    return _array(address, 16, rules=() if required else rules.ADDRESSES)


def _namespaces(*options: str, default: str) -> Schema:
    properties: dict[str, Any] = {"from": _choice(*options, default=default), "selector": _SELECTOR}
    return _object(**properties, default={"from": default})


def _gateway() -> Schema:
    route_kind = _object("kind", group=_group(_GROUP), kind=_kind())
    certificate = _reference("name", group="", kind="Secret")
    routes_from = _namespaces("All", "Selector", "Same", default="Same")
    listener = _object(
        "name port protocol",
        name=_SECTION,
        hostname=_HOSTNAME,
        port=_PORT,
        protocol=_text(
            rf"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|{_SUBDOMAIN}\/[A-Za-z0-9]+$",
            1,
            255,
        ),
        tls=_object(
            mode=_choice("Terminate", "Passthrough", default="Terminate"),
            certificateRefs=_array(certificate, 64),
            options=_map(_text("", 0, 4096), 16),
            rules=rules.LISTENER_TLS,
        ),
        allowedRoutes=_object(
            kinds=_array(route_kind, 8), namespaces=routes_from, default={"namespaces": {"from": "Same"}}
        ),
    )
    frontend = _object(
        validation=_object(
            "caCertificateRefs",
            caCertificateRefs=_array(_reference("group kind name"), 8, 1),
            mode=_choice("AllowValidOnly", "AllowInsecureFallback", default="AllowValidOnly"),
        )
    )
    per_port = _array(_object("port tls", port=_PORT, tls=frontend), 64, keys="port")
    of_frontend = _object("default", perPort=per_port)
    of_frontend["properties"]["default"] = frontend
    label = _text("^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", 0, 63)
    spec = _object(
        "gatewayClassName listeners",
        gatewayClassName=_NAME,
        listeners=_array(listener, 64, 1, keys="name", rules=rules.LISTENERS),
        addresses=_addresses(),
        infrastructure=_object(
            labels=_map(label, 8, rules=rules.qualified_keys("Label", "label")),
            annotations=_map(_text("", 0, 4096), 8, rules=rules.qualified_keys("Annotation", "annotation")),
            parametersRef=_reference("group kind name", namespaced=False),
        ),
        allowedListeners=_object(namespaces=_namespaces("All", "Selector", "Same", "None", default="None")),
        tls=_object(backend=_object(clientCertificateRef=certificate), frontend=of_frontend),
    )
    listener_status = _object(
        "attachedRoutes conditions name",
        name=_SECTION,
        attachedRoutes=_number(),
        supportedKinds=_array(route_kind, 8),
        conditions=_CONDITIONS,
    )
    waiting = _waiting("Accepted", "Programmed")
    status = _object(
        addresses=_addresses(required="value"),
        attachedListenerSets=_number(),
        conditions={**_CONDITIONS, "default": waiting},
        listeners=_array(listener_status, 64, keys="name"),
        default={"conditions": waiting},
    )
    return _object("spec", spec=spec, status=status)


def _gateway_class() -> Schema:
    waiting = _waiting("Accepted")
    return _object(
        "spec",
        spec=_object(
            "controllerName",
            controllerName=_CONTROLLER,
            description=_text("", 0, 64),
            parametersRef=_reference("group kind name"),
        ),
        status=_object(
            conditions={**_CONDITIONS, "default": waiting},
            supportedFeatures=_array(_object("name", name=_ANY_STRING), 64, keys="name"),
            default={"conditions": waiting},
        ),
    )


def _reference_grant() -> Schema:
    source = _object("group kind namespace", group=_group(), kind=_kind(), namespace=_NAMESPACE)
    target = _object("group kind", group=_group(), kind=_kind(), name=_NAME)
    ends: dict[str, Any] = {"from": _array(source, 16, 1), "to": _array(target, 16, 1)}
    return _object("spec", spec=_object("from to", **ends))


@cache
def schemas() -> dict[tuple[str, str], Schema]:
    """Schemas by `(apiVersion, kind)`, without what every object has."""
    any_object: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    grant = _reference_grant()
    return {
        (f"{_GROUP}/v1", "GatewayClass"): _gateway_class(),
        (f"{_GROUP}/v1", "Gateway"): _gateway(),
        (f"{_GROUP}/v1", "HTTPRoute"): _http_route(),
        (f"{_GROUP}/v1", "GRPCRoute"): _grpc_route(),
        (f"{_GROUP}/v1", "ReferenceGrant"): grant,
        (f"{_GROUP}/v1beta1", "ReferenceGrant"): grant,
        (f"{_GROUP}/v1", "TLSRoute"): any_object,
        (f"{_GROUP}/v1", "BackendTLSPolicy"): any_object,
    }

"""Server-side apply: each manager says what it wants, and the server keeps who owns which field."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from localcluster.api.errors import ApiError, Cause, bad_request, conflict
from localcluster.api.managed_fields import (
    Changes,
    Entry,
    FieldSet,
    Manager,
    Managers,
    Path,
    changes,
    elements,
    fields_of,
    managers_of,
    readable,
    with_managers,
)
from localcluster.api.merge_schema import MergeSchema, merge_schema
from localcluster.api.patches import copied
from localcluster.api.resources import Resource
from localcluster.render import Object

# kubectl's own client-side apply remembers here what it applied.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"
_NOBODY = Entry(frozenset(), "", "")
# What the server fills in stays as it is, whatever a manager applies.
_SERVER_SIDE = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


def apply(
    live: Object | None,
    applied: Object,
    resource: Resource,
    *,
    manager: str,
    force: bool,
    at: str,
    subresource: str = "",
) -> Object:
    """Merges what a manager applies into an object; neither of the two is changed.

    Fields that the manager applied before and left out now go away unless another manager owns them. If nothing
    changes, the result equals `live`.

    Args:
        live: The object as it is stored, None if there is none.
        applied: What the manager wants.
        resource: What it is.
        manager: Name of the manager.
        force: Take fields from their owners instead of refusing.
        at: The time, as in `metadata.managedFields`.
        subresource: `status` if that is written.

    Raises:
        ApiError: 409 if a field that would change belongs to another manager; 400 for what cannot be applied.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    _check_version(live, applied, resource)
    schema = merge_schema(resource)
    wanted = _wanted(applied, resource, subresource)
    me = Manager(manager, "Apply", subresource)
    managers = managers_of(live)
    mine, last = fields_of(wanted, schema).own, managers.get(me, _NOBODY)
    others = {other: entry for other, entry in managers.items() if other != me}
    if live is None:
        made, done = wanted, Changes(mine, frozenset())
    else:
        if not managers:
            others = {
                Manager("before-first-apply", "Update"): Entry(fields_of(live, schema).own, live["apiVersion"], at)
            }
        made = _merged(live, wanted, schema)
        used = _in_use(mine, others)
        if orphans := last.fields - used:
            made = _without(made, orphans, used, schema)
        done = changes(fields_of(live, schema), fields_of(made, schema))
        lost = {other: entry.fields & done.written for other, entry in others.items()}
        lost = {other: fields for other, fields in lost.items() if fields}
        if lost and not force:
            if manager == _KUBECTL:
                lost = _beyond_last_applied(lost, live, schema)
            if lost:
                raise _conflict(lost, others, resource, wanted["metadata"]["name"])
        others = {other: entry.without(done.written | done.removed) for other, entry in others.items()}
        if manager == _KUBECTL and _LAST_APPLIED in (made["metadata"].get("annotations") or {}):
            made = _with_last_applied(made, wanted)
    time = at if done or mine != last.fields else last.time
    own = {me: Entry(mine, resource.api_version, time)}
    # Keeps the order of those who were there.
    return copied(with_managers(made, {**dict.fromkeys(managers, _NOBODY), **others, **own}))


def record_update(
    before: Object | None, after: Object, resource: Resource, *, manager: str, at: str, subresource: str = ""
) -> Object:
    """Gives a manager the fields that it wrote by other ways than apply; `before` and `after` are not changed.

    Args:
        before: The object as it was, None if it is new.
        after: The object as it is written.
        resource: What it is.
        manager: Name of the manager.
        at: The time, as in `metadata.managedFields`.
        subresource: `status` or `scale` if that is written.
    """
    schema = merge_schema(resource)
    own = fields_of(after, schema)
    done = Changes(own.own, frozenset()) if before is None else changes(fields_of(before, schema), own)
    # A client may write the managers themselves, as kubectl does to go over to server-side apply.
    given = after["metadata"].get("managedFields")
    managers: dict[Manager, Entry] = managers_of(after if given else before)
    me = Manager(manager, "Update", subresource)
    if done:
        last = managers.get(me, _NOBODY)
        managers = {other: entry.without(done.written | done.removed) for other, entry in managers.items()}
        managers[me] = Entry((last.fields | done.written) - done.removed, resource.api_version, at)
    return copied(with_managers(after, managers))


def _check_version(live: Object | None, applied: Object, resource: Resource) -> None:
    metadata = applied.get("metadata") or {}
    asked = metadata.get("resourceVersion")
    if live is not None and asked and asked != live["metadata"].get("resourceVersion"):
        raise conflict(
            resource.plural,
            resource.group,
            metadata["name"],
            "the object has been modified; please apply your changes to the latest version and try again",
        )


def _wanted(applied: Object, resource: Resource, subresource: str) -> Object:
    wanted: Object = _without_nulls(applied)
    metadata = wanted.get("metadata") or {}
    wanted["metadata"] = {key: value for key, value in metadata.items() if key not in _SERVER_SIDE}
    if subresource == "status":
        return {key: value for key, value in wanted.items() if key in {"apiVersion", "kind", "metadata", "status"}}
    if "status" in resource.subresources:
        wanted.pop("status", None)
    return wanted


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _merged(live: Any, wanted: Any, schema: MergeSchema) -> Any:
    if isinstance(live, dict) and isinstance(wanted, dict) and not schema.atomic:
        merged = dict(live)
        for key, value in wanted.items():
            merged[key] = _merged(live[key], value, schema.field(key)) if key in live else value
        return merged
    if isinstance(live, list) and isinstance(wanted, list):
        before, named = elements(live, schema), elements(wanted, schema)
        if before is not None and named is not None:
            if len(set(named)) < len(named):
                raise bad_request(f"items of a list must differ in {', '.join(schema.list_keys) or 'value'}: {wanted}")
            old = dict(zip(before, live, strict=True))
            new = dict(zip(named, wanted, strict=True))
            both = {name: _merged(old[name], new[name], schema.item()) for name in old.keys() & new.keys()}
            made = {**old, **new, **both}
            return [made[name] for name in interleaved(before, named)]
    return wanted


def interleaved(live: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Merges two orders: that of `wanted` holds, what is only in `live` stays before what it stood before."""
    ordered: list[str] = []
    chosen, placed = set(wanted), set[str]()
    rest = deque(dict.fromkeys(live))
    for name in wanted:
        while rest and (rest[0] not in chosen or rest[0] in placed):
            first = rest.popleft()
            if first not in chosen:
                ordered.append(first)
        ordered.append(name)
        placed.add(name)
    return ordered + [name for name in rest if name not in chosen]


def _in_use(mine: FieldSet, others: Managers) -> FieldSet:
    """Fields that somebody owns, or that have such fields below."""
    owned = mine.union(*(entry.fields for entry in others.values()))
    return frozenset(path[:depth] for path in owned for depth in range(1, len(path) + 1))


def _without(
    value: Any, orphans: FieldSet, used: FieldSet, schema: MergeSchema, path: Path = (), keys: tuple[str, ...] = ()
) -> Any:
    """A value without its orphaned fields, and without maps that they leave empty; an item keeps its keys."""
    if isinstance(value, dict) and not schema.atomic:
        left = {}
        for name, part in value.items():
            place = (*path, f"f:{name}")
            if place in orphans and name not in keys:
                continue
            rest = _without(part, orphans, used, schema.field(name), place)
            if rest or not part or place in used:
                left[name] = rest
        return left
    if isinstance(value, list) and (named := elements(value, schema)) is not None:
        return [
            _without(item, orphans, used, schema.item(), (*path, name), schema.list_keys)
            for name, item in zip(named, value, strict=True)
            if (*path, name) not in orphans
        ]
    return value


def _beyond_last_applied(
    lost: Mapping[Manager, FieldSet], live: Object, schema: MergeSchema
) -> dict[Manager, FieldSet]:
    """Conflicts beyond what kubectl itself wrote by client-side apply, which goes over without asking."""
    text = (live["metadata"].get("annotations") or {}).get(_LAST_APPLIED)
    if text is None:
        return dict(lost)
    try:
        before = fields_of(_without_nulls(json.loads(text)), schema)
    except (ValueError, AttributeError):
        return dict(lost)
    now = fields_of(live, schema)
    kubectls = frozenset(path for path in before.own if now.values.get(path) == before.values[path])
    return {other: fields - kubectls for other, fields in lost.items() if fields - kubectls}


def _with_last_applied(made: Object, wanted: Object) -> Object:
    metadata = made["metadata"]
    text = json.dumps(wanted, sort_keys=True, separators=(",", ":")) + "\n"
    return {**made, "metadata": {**metadata, "annotations": {**metadata["annotations"], _LAST_APPLIED: text}}}


def _conflict(lost: Mapping[Manager, FieldSet], others: Managers, resource: Resource, name: str) -> ApiError:
    by_manager: dict[str, list[Path]] = {}
    for other, fields in lost.items():
        by_manager.setdefault(_described(other, others[other]), []).extend(sorted(fields))
    causes = [
        Cause("FieldManagerConflict", f"conflict with {described}", readable(path))
        for described, paths in sorted(by_manager.items())
        for path in paths
    ]
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = []
        for described, paths in sorted(by_manager.items()):
            lines += [f"conflicts with {described}:", *(f"- {readable(path)}" for path in paths)]
        text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, kind=resource.plural, group=resource.group, name=name, causes=causes)


def _described(manager: Manager, entry: Entry) -> str:
    subresource = f' with subresource "{manager.subresource}"' if manager.subresource else ""
    version = f" using {entry.api_version}" if manager.operation == "Update" else ""
    return f'"{manager.name}"{subresource}{version}'

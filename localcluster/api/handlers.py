"""What each verb on a resource does: from an HTTP request to its answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from localcluster.api import logs, negotiation, selectors
from localcluster.api.collector import GarbageCollector
from localcluster.api.deletion import DeleteOptions
from localcluster.api.errors import ApiError, bad_request
from localcluster.api.negotiation import Form
from localcluster.api.parameters import Page, Parameters, check_match, version_of
from localcluster.api.registry import PatchType, Registry, Written, of_version
from localcluster.api.resources import NAMESPACES, PODS, Resource
from localcluster.api.routes import Target
from localcluster.api.scale import scale_of
from localcluster.api.selectors import Selection
from localcluster.api.store import Key, Store, expired
from localcluster.api.watch import Event, Watch
from localcluster.render import Object

LogFile = Callable[[str, str, bool], Path | None]
"""Namespace and name of a pod, and whether its previous run is meant → its log, None if there is none."""

Verb = Callable[[web.Request, Target, Parameters], Awaitable[web.StreamResponse]]

_BODY_S = 20
_WRITE_S = 20
_WATCH_S = 1800
_LONGEST_WATCH_S = 3600
_BODIES = ("application/json", "application/yaml")
_PATCHES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/apply-patch+yaml": "apply",
    "application/strategic-merge-patch+json": "strategic",
}
_NDJSON = "application/json"


class Handlers:
    """Answers requests on resources.

    Args:
        store: What there is.
        registry: Who writes it.
        collector: Who deletes it.
        log_file: Where the logs of pods are.
    """

    def __init__(self, store: Store, registry: Registry, collector: GarbageCollector, log_file: LogFile) -> None:
        self._store = store
        self._registry = registry
        self._collector = collector
        self._log_file = log_file
        self._watches: set[Watch] = set()
        self._closed = False

    def close(self) -> None:
        """Ends watches and logs that are followed."""
        self._closed = True
        for watch in tuple(self._watches):
            watch.close()

    async def handle(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answers one request.

        Raises:
            ApiError: What went wrong.
        """
        if (verb := self._verbs(target).get(request.method)) is None:
            message = "the server does not allow this method on the requested resource"
            raise ApiError(405, "MethodNotAllowed", message)
        return await verb(request, target, Parameters(request.query))

    def _verbs(self, target: Target) -> dict[str, Verb]:
        if target.subresource == "log":
            return {"GET": self._log}
        if target.subresource:
            return {"GET": self._get, "PUT": self._replace, "PATCH": self._patch}
        if target.name:
            return {"GET": self._get, "PUT": self._replace, "PATCH": self._patch, "DELETE": self._delete}
        if target.resource.namespaced and not target.namespace:
            return {"GET": self._list}
        return {"GET": self._list, "POST": self._create, "DELETE": self._delete_collection}

    async def _get(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        if parameters.flag("watch"):
            named = f"metadata.name={target.name}"
            return await self._watch(request, target, parameters, fields=named)
        item = self._registry.get(target.resource, target.namespace, target.name)
        if target.subresource == "scale":
            return json_response(scale_of(item))
        return json_response(_form(request, parameters).one(target.resource, item))

    async def _list(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        if parameters.flag("watch"):
            return await self._watch(request, target, parameters, fields=parameters.text("fieldSelector"))
        resource = target.resource
        version = self._list_version(parameters)
        selection = _selection(target, parameters, parameters.text("fieldSelector"))
        found = [item for item in self._store.items(resource.storage, target.namespace) if selection.matches(item)]
        metadata: Object = {"resourceVersion": str(version)}
        if token := parameters.text("continue"):
            page = Page.of(token)
            # Later parts show later states; a watch from the list's version then repeats what led to them.
            self._store.check(page.version)
            metadata["resourceVersion"] = str(page.version)
            found = [item for item in found if _position(item) > page.after]
        limit = parameters.number("limit")
        if limit and len(found) > limit:
            metadata["continue"] = Page(int(metadata["resourceVersion"]), _position(found[limit - 1])).token()
            if selection.everything:
                metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        shown = [of_version(resource, item) for item in found]
        return json_response(_form(request, parameters).many(resource, shown, metadata))

    def _list_version(self, parameters: Parameters) -> int:
        match = check_match(parameters)
        asked = version_of(parameters.text("resourceVersion"), current=self._store.version)
        if match == "Exact" and asked != self._store.version:
            raise expired(parameters.text("resourceVersion"))
        return self._store.version

    async def _watch(
        self, request: web.Request, target: Target, parameters: Parameters, *, fields: str
    ) -> web.StreamResponse:
        check_match(parameters)
        resource = target.resource
        form = _form(request, parameters)
        selection = _selection(target, parameters, fields)
        initial = parameters.flag("sendInitialEvents")
        timeout = min(parameters.number("timeoutSeconds") or _WATCH_S, _LONGEST_WATCH_S)
        bookmarks = parameters.flag("allowWatchBookmarks")
        try:
            start = Watch(self._store, resource.storage, selection, self._watched_from(parameters))
        except ApiError as error:
            if error.code != 410:
                raise
            # Watchers look for it in the stream.
            return web.Response(body=_line_of("ERROR", error.status()), content_type=_NDJSON)
        with start as watch:
            first = watch.pending()
            if initial and bookmarks:
                end = watch.bookmark()
                end.item["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
                first.append(end)
            self._watches.add(watch)
            response = web.StreamResponse(headers={"Content-Type": _NDJSON})
            try:
                # A client that goes away ends its watch.
                with contextlib.suppress(ConnectionError):
                    await response.prepare(request)
                    await _send(request, response, b"".join(_line(resource, form, event) for event in first))
                    async for events in watch.batches(timeout_s=timeout, bookmarks=bookmarks):
                        await _send(request, response, b"".join(_line(resource, form, event) for event in events))
            finally:
                self._watches.discard(watch)
            return response

    def _watched_from(self, parameters: Parameters) -> int | None:
        """The version after which a watch starts; None to begin with what is there."""
        asked = version_of(parameters.text("resourceVersion"), current=self._store.version)
        if "sendInitialEvents" not in parameters.query:
            return asked
        return None if parameters.flag("sendInitialEvents") else asked or self._store.version

    async def _create(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        options = parameters.write_options(_user_agent(request), "")
        body = await _body(request, _BODIES)
        return self._written(
            request, target, parameters, self._registry.create(target.resource, target.namespace, body, options)
        )

    async def _replace(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        options = parameters.write_options(_user_agent(request), target.subresource)
        body = await _body(request, _BODIES)
        where = (target.resource, target.namespace, target.name)
        if target.subresource == "scale":
            return _scaled(self._registry.scale(*where, None, body, options))
        return self._written(request, target, parameters, self._registry.replace(*where, body, options))

    async def _patch(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        options = parameters.write_options(_user_agent(request), target.subresource)
        accepted = [
            media
            for media, kind in _PATCHES.items()
            if not (kind == "strategic" and target.resource.custom)
            and not (kind == "apply" and target.subresource == "scale")
        ]
        body = await _body(request, accepted)
        kind = _PATCHES[request.content_type]
        if kind == "apply" and not parameters.text("fieldManager"):
            raise bad_request("fieldManager is required for apply patch")
        where = (target.resource, target.namespace, target.name)
        if target.subresource == "scale":
            return _scaled(self._registry.scale(*where, kind, body, options))
        return self._written(request, target, parameters, self._registry.patch(*where, kind, body, options))

    async def _delete(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        body = await _body(request, _BODIES)
        options = DeleteOptions.of(body, parameters.text, dry_run=parameters.dry_run)
        resource = target.resource
        key = Key(resource.storage, target.namespace, target.name)
        item, gone = self._collector.deleter.delete(resource, key, options)
        if not gone:
            return json_response(_form(request, parameters).one(resource, of_version(resource, item)))
        details = {"name": target.name, "kind": resource.plural, "uid": item["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        return json_response(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    async def _delete_collection(
        self, request: web.Request, target: Target, parameters: Parameters
    ) -> web.StreamResponse:
        resource = target.resource
        if resource is NAMESPACES:
            raise ApiError(405, "MethodNotAllowed", "namespaces are deleted one by one")
        selection = _selection(target, parameters, parameters.text("fieldSelector"))
        options = DeleteOptions.of(await _body(request, _BODIES), parameters.text, dry_run=parameters.dry_run)
        deleted: list[Object] = []
        for item in self._store.items(resource.storage, target.namespace):
            if selection.matches(item):
                key = Key(resource.storage, target.namespace, item["metadata"]["name"])
                deleted.append(of_version(resource, self._collector.deleter.delete(resource, key, options)[0]))
        metadata = {"resourceVersion": str(self._store.version)}
        return json_response(_form(request, parameters).many(resource, deleted, metadata))

    async def _log(self, request: web.Request, target: Target, parameters: Parameters) -> web.StreamResponse:
        options = logs.LogOptions.of(parameters.text, parameters.flag)
        pod = self._registry.get(PODS, target.namespace, target.name)
        container = _container(pod, parameters.text("container"))
        path = self._log_file(target.namespace, target.name, options.previous)
        if path is None and options.previous:
            message = f'previous terminated container "{container}" in pod "{target.name}" not found'
            raise bad_request(message)
        if path is None:
            statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
            waiting = (statuses[0].get("state") or {}).get("waiting") or {}
            reason = waiting.get("reason", "ContainerCreating")
            message = f'container "{container}" in pod "{target.name}" is waiting to start: {reason}'
            raise bad_request(message)
        key = Key(PODS.storage, target.namespace, target.name)
        uid = pod["metadata"]["uid"]

        def ended() -> bool:
            now = self._store.get(key)
            return (
                self._closed
                or options.previous
                or now is None
                or now["metadata"]["uid"] != uid
                or (now.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
            )

        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        if parameters.flag("timestamps"):
            _warn(response, ["lines of a log have no times of their own here; they come without timestamps"])
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            async with contextlib.aclosing(logs.read(path, options, ended)) as pieces:
                async for piece in pieces:
                    await _send(request, response, piece)
        return response

    def _written(
        self, request: web.Request, target: Target, parameters: Parameters, written: Written
    ) -> web.StreamResponse:
        item = _form(request, parameters).one(target.resource, written.item)
        response = json_response(item, 201 if written.created else 200)
        _warn(response, written.warnings)
        return response


def json_response(content: Any, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def _scaled(written: Written) -> web.Response:
    response = json_response(written.item)
    _warn(response, written.warnings)
    return response


def _warn(response: web.StreamResponse, warnings: tuple[str, ...] | list[str]) -> None:
    for warning in dict.fromkeys(warnings):
        # A header holds printable ASCII.
        text = re.sub(r"[^ -~]", "?", " ".join(warning.split()))
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')


def _form(request: web.Request, parameters: Parameters) -> Form:
    return negotiation.form_of(",".join(request.headers.getall("Accept", [])), parameters.text("includeObject"))


def _selection(target: Target, parameters: Parameters, fields: str) -> Selection:
    return selectors.parse(target.resource, target.namespace, parameters.text("labelSelector"), fields)


def _position(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _user_agent(request: web.Request) -> str:
    return request.headers.get("User-Agent", "")


def _line(resource: Resource, form: Form, event: Event) -> bytes:
    if event.type == "BOOKMARK":
        item = form.bookmark(resource, event.item["metadata"])
    else:
        item = form.one(resource, of_version(resource, event.item))
    return _line_of(event.type, item)


def _line_of(type_: str, item: Object) -> bytes:
    return orjson.dumps({"type": type_, "object": item}) + b"\n"


async def _body(request: web.Request, accepted: list[str] | tuple[str, ...]) -> Any:
    try:
        async with asyncio.timeout(_BODY_S):
            content = await request.read()
    except TimeoutError:
        raise ApiError(408, "Timeout", f"the body of the request did not come within {_BODY_S} s") from None
    # Without a Content-Type it is JSON, where JSON can be.
    media = request.content_type if "Content-Type" in request.headers or not content else accepted[0]
    return await negotiation.decode(content, media if content else accepted[0], accepted)


async def _send(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Writes a piece of a stream; a reader that takes nothing is cut off."""
    if not data:
        return
    try:
        async with asyncio.timeout(_WRITE_S):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client reads too slowly") from None


def _container(pod: Object, asked: str) -> str:
    containers = (pod.get("spec") or {}).get("containers") or []
    names = [str(container.get("name")) for container in containers]
    pod_name = pod["metadata"]["name"]
    if asked and asked not in names:
        raise bad_request(f"container {asked} is not valid for pod {pod_name}")
    if not asked and len(names) > 1:
        raise bad_request(f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(names)}]")
    return asked or next(iter(names), "")

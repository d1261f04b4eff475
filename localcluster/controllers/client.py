"""The API as controllers see it: any client of Kubernetes' HTTP API could do the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from localcluster.api.errors import ApiError
from localcluster.api.resources import EVENTS, Resource
from localcluster.render import Object

_TIMEOUT_S = 10
# The server ends a watch after this long; it is opened again where it stopped.
_WATCH_S = 300
_LONGEST_LINE = 16 << 20

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True)
class WatchEvent:
    """Something that happened to an object."""

    type: EventType
    item: Object


class Client:
    """Reads and writes objects. Use it as an asynchronous context manager.

    Args:
        server: URL of the API server.
        token: Bearer token.
        manager: Name under which it owns the fields that it writes.
    """

    def __init__(self, server: str, token: str, manager: str) -> None:
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}"}
        self.manager = manager
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            headers=self._headers, read_bufsize=_LONGEST_LINE, connector=aiohttp.TCPConnector(limit=0)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """The object, None if there is none."""
        try:
            return await self._request("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, resource: Resource, namespace: str = "", *, labels: str = "") -> tuple[list[Object], str]:
        """All objects of a kind, with the resourceVersion from which a watch continues."""
        answer = await self._request(
            "GET", resource.path(namespace), params={"labelSelector": labels} if labels else None
        )
        # Items of a list do not repeat what they are.
        known = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [{**known, **item} for item in answer["items"]], answer["metadata"]["resourceVersion"]

    async def create(self, resource: Resource, item: Object) -> Object:
        """Creates an object.

        Raises:
            ApiError: 409 if it is there.
        """
        namespace = item["metadata"].get("namespace", "")
        return await self._request("POST", resource.path(namespace), item)

    async def apply(self, resource: Resource, item: Object) -> Object:
        """Server-side apply: the object as far as this manager has a say in it; takes fields from others."""
        metadata = item["metadata"]
        return await self._request(
            "PATCH",
            resource.path(metadata.get("namespace", ""), metadata["name"]),
            {"apiVersion": resource.api_version, "kind": resource.kind, **item},
            params={"force": "true"},
            content_type="application/apply-patch+yaml",
        )

    async def merge(
        self, resource: Resource, name: str, namespace: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object | None:
        """JSON merge patch of an object or of its `status`; None if the object is gone."""
        try:
            return await self._request(
                "PATCH",
                resource.path(namespace, name, subresource),
                patch,
                content_type="application/merge-patch+json",
            )
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str = "", grace_s: int | None = None
    ) -> None:
        """Deletes an object; one that is gone, or is another one than `uid` by now, is left alone."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            await self._request("DELETE", resource.path(namespace, name), options)
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

    async def watch(self, resource: Resource, resource_version: str) -> AsyncIterator[WatchEvent]:
        """Events of a kind from a resourceVersion on; ends now and then, to be opened again.

        Raises:
            ApiError: 410 if that version is too old: list again.
        """
        params = {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_S),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S)
        async with self._session.get(self._server + resource.path(), params=params, timeout=timeout) as response:
            if response.status != 200:
                raise _error(response.status, await response.read())
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _status_error(event["object"])
                yield WatchEvent(event["type"], event["object"])

    async def event(self, regarding: Object, reason: str, message: str, *, type_: str = "Normal") -> str:
        """Records an Event that `kubectl describe` and `kubectl events` show; returns the Event's name."""
        from datetime import UTC, datetime

        metadata = regarding["metadata"]
        namespace = metadata.get("namespace", "default")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        created = await self.create(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{metadata['name']}.", "namespace": namespace},
                "involvedObject": {
                    "apiVersion": regarding["apiVersion"],
                    "kind": regarding["kind"],
                    "name": metadata["name"],
                    "namespace": namespace,
                    "uid": metadata["uid"],
                },
                "reason": reason,
                "message": message[:1024],
                "type": type_,
                "source": {"component": self.manager},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
        )
        name: str = created["metadata"]["name"]
        return name

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        async with self._session.request(
            method,
            self._server + path,
            params={**(params or {}), **({"fieldManager": self.manager} if method != "GET" else {})},
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        ) as response:
            content = await response.read()
            if response.status >= 400:
                raise _error(response.status, content)
            answer: Object = json.loads(content)
            return answer

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("enter the client first: `async with Client(...)`")
        return self._http


def _error(code: int, content: bytes) -> ApiError:
    try:
        return _status_error(json.loads(content))
    except (ValueError, KeyError, TypeError):
        return ApiError(code, "Unknown", content.decode(errors="replace")[:300])


def _status_error(status: Object) -> ApiError:
    return ApiError(status["code"], status.get("reason", ""), status.get("message", ""))

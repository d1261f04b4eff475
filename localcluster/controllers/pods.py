"""The kubelet of this machine: every pod is one process, and its status says what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.addresses import AddressSpace
from localcluster.api.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICES, Resource
from localcluster.container import NotYetError, Surroundings, only_container, pod_process_spec
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, Key, key_of
from localcluster.controllers.pod_status import NODE, Seen, Waiting, has_started, lost_status, pod_status, timestamp
from localcluster.controllers.recorder import Recorder
from localcluster.images import ImageError, interpreter
from localcluster.inference_service import STORAGE
from localcluster.processes.runner import Backoff, Event, bound_log
from localcluster.processes.supervisor import Supervisor
from localcluster.render import ManifestError, Object
from localcluster.storage import Storage, StorageError

STORAGE_RESOLVED = "ml-deployment-blueprints/storage-resolved"
"""Annotation of a pod: the folder that its storage URI stood for when it started."""

# After a pod is marked for deletion, gateways and proxies send it no new requests within this time.
DRAIN_S = 1.5
# As many as a kubelet takes, unless it is told otherwise.
MOST_PODS = 110
_SHUTDOWN_S = 10.0
_LOG_BYTES = 10 << 20
_LOG_CHECK_S = 10
_PULL_RETRY_S = (1, 2, 5, 10, 30, 60)
_START_RETRY_S = 5
_KINDS = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS, "Service": SERVICES, "Namespace": NAMESPACES}

_LOG = logging.getLogger("localcluster")


@dataclass
class _Local:
    """What this machine holds for one pod."""

    pod: Object
    address: str
    folder: Path
    earlier: Object | None
    waiting: Waiting | None = field(default_factory=Waiting)
    model: Path | None = None
    initialized: bool = False
    preparing: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None
    ended: bool = False
    written: Object = field(default_factory=dict)

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])


class PodController(Controller):
    """Runs the pods; the key is a pod's.

    Args:
        client: Where it writes.
        cache: What it reads.
        recorder: Where it tells of what happens.
        folder: Where logs (`logs/<namespace>/<pod>.log`) and volumes lie.
        addresses: Where pods get their addresses from.
        storage: Where model packages come from.
        environment: What every process gets, before what its manifest says.
        backoff: Waits between restarts.
    """

    name = "kubelet"
    watches = (PODS, CONFIG_MAPS, SECRETS, SERVICES, NAMESPACES)

    def __init__(
        self,
        client: Client,
        cache: Cache,
        recorder: Recorder,
        *,
        folder: Path,
        addresses: AddressSpace,
        storage: Storage,
        environment: Mapping[str, str],
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__(client, cache)
        self._recorder = recorder
        self._folder = folder
        self._addresses = addresses
        self._storage = storage
        self._environment = environment
        self._pods: dict[Key, _Local] = {}
        self._binding = asyncio.Lock()
        self._supervisor = Supervisor(folder / "logs", on_event=self._happened, backoff=backoff, grace_s=_SHUTDOWN_S)

    def log_path(self, namespace: str, pod: str, *, previous: bool = False) -> Path | None:
        """The log file of a pod, of the run (or the part of its log) before this one if `previous`; None if none."""
        log = self._supervisor.log(_process(namespace, pod))
        path = log.with_name(f"{log.name}.1") if previous else log
        return path if path.is_file() else None

    async def run(self) -> None:
        """Runs pods until it is cancelled; then all processes end."""
        shutil.rmtree(self._folder / "pods", ignore_errors=True)
        async with self._supervisor:
            bounding = asyncio.create_task(self._bound_logs())
            try:
                await super().run()
            finally:
                bounding.cancel()
                for local in self._pods.values():
                    for task in (local.preparing, local.ending):
                        if task is not None:
                            task.cancel()

    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """A pod; for anything else, the pods that wait."""
        if resource is PODS:
            return (key_of(item),)
        return [key for key, local in self._pods.items() if local.waiting is not None and local.initialized]

    async def reconcile(self, key: Key) -> float | None:
        """Starts, shows or ends one pod."""
        pod, local = self.cache.get(PODS, key), self._pods.get(key)
        if local is not None and (pod is None or pod["metadata"]["uid"] != local.uid):
            # Deleted by force, or another one of this name is there already.
            self._end(key, local, drain_s=0, grace_s=0)
            return None
        if pod is None:
            # Of a pod that an earlier cluster ran, nothing else is left.
            self._remove_logs(key)
            return None
        if pod["metadata"].get("deletionTimestamp"):
            await self._delete(key, pod, local)
            return None
        if local is None:
            local = await self._admit(key, pod)
            if local is None:
                return None
        local.pod = pod
        again = None
        if local.waiting is not None and local.initialized:
            again = self._start(local)
        await self._write(key, local)
        return again

    async def _admit(self, key: Key, pod: Object) -> _Local | None:
        """Takes a pod on, None if it has done its work or there is no room for it yet."""
        status, namespace, name = pod.get("status") or {}, *key
        if status.get("phase") in {"Succeeded", "Failed"}:
            return None
        started = has_started(status)
        if started and pod["spec"].get("restartPolicy") == "Never":
            await self._merge_status(key, lost_status(status, time.time()))
            return None
        if not pod["spec"].get("nodeName"):
            # One at a time, so that no two take the last place.
            async with self._binding:
                if sum(map(self._takes_room, self.cache.all(PODS))) >= MOST_PODS:
                    await self._refuse(key, pod)
                    return None
                bound = await self.client.merge(PODS, name, namespace, {"spec": {"nodeName": NODE}})
            if bound is None:
                return None
            self._recorder.record(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {NODE}")
        local = _Local(
            pod=pod,
            address=self._addresses.pod(),
            folder=self._folder / "pods" / pod["metadata"]["uid"],
            earlier=status if started else None,
            written=status,
        )
        self._pods[key] = local
        uri = (pod["metadata"].get("annotations") or {}).get(STORAGE, "")
        if uri:
            local.waiting = Waiting("Pulling", f"model from {uri}", initialized=False)
            local.preparing = asyncio.create_task(self._pull(key, local, uri))
        else:
            local.initialized = True
        return local

    def _takes_room(self, pod: Object) -> bool:
        phase = (pod.get("status") or {}).get("phase")
        taken = pod["spec"].get("nodeName") or key_of(pod) in self._pods
        return bool(taken) and phase not in {"Succeeded", "Failed"}

    async def _refuse(self, key: Key, pod: Object) -> None:
        """Leaves a pod pending until others have ended."""
        self.enqueue(key, after_s=_START_RETRY_S)
        if not (pod.get("status") or {}).get("conditions"):
            why = f"0/1 nodes are available: 1 Too many pods (at most {MOST_PODS} run at a time)"
            self._recorder.record(pod, "FailedScheduling", why, warning=True)
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
            condition["lastTransitionTime"] = timestamp(time.time())
            await self._merge_status(key, {"phase": "Pending", "conditions": [condition]})

    async def _pull(self, key: Key, local: _Local, uri: str) -> None:
        """Gets the model package of a pod, tried again until it is there."""
        namespace, name = key
        resolved, failures = _resolved(local.pod), 0
        while resolved is None:
            self._recorder.record(local.pod, "Pulling", f"Getting the model from {uri}")
            begun = time.monotonic()
            try:
                resolved = await self._storage.fetch(uri)
                annotation = {"metadata": {"annotations": {STORAGE_RESOLVED: str(resolved)}}}
                await self.client.merge(PODS, name, namespace, annotation)
            except Exception as error:  # noqa: BLE001  # whatever it was, the pod shows it and tries again
                if not isinstance(error, StorageError):
                    _LOG.exception("%s: %s", name, uri)
                resolved = None
                wait_s = _PULL_RETRY_S[min(failures, len(_PULL_RETRY_S) - 1)]
                failures += 1
                local.waiting = Waiting("ErrModelPull", str(error), initialized=False)
                self._recorder.record(local.pod, "Failed", str(error), warning=True)
                self.enqueue(key)
                await asyncio.sleep(wait_s)
            else:
                took_s = time.monotonic() - begun
                self._recorder.record(local.pod, "Pulled", f"Got the model from {uri} in {took_s:.1f} s: {resolved}")
        local.model, local.initialized, local.waiting = resolved, True, Waiting()
        self.enqueue(key)

    def _start(self, local: _Local) -> float | None:
        """Starts the process of a pod, or notes why it cannot; returns after how many seconds to try again."""
        pod = {
            **local.pod,
            "spec": {**local.pod["spec"], "nodeName": NODE},
            "status": {"podIP": local.address, "hostIP": "127.0.0.1"},
        }
        local.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        around = Surroundings(
            address=local.address,
            folder=local.folder,
            find=lambda kind, name, namespace: self.cache.get(_KINDS[kind], (namespace, name)),
            holds_service=self._addresses.holds_service,
            claim=self._storage.claim,
            model=local.model,
            environment=self._environment,
        )
        try:
            spec = pod_process_spec(pod, around)
        except NotYetError as error:
            local.waiting = Waiting("ContainerCreating", str(error))
            return _START_RETRY_S
        except (ImageError, ManifestError, OSError) as error:
            reason = "ErrImageNeverPull" if isinstance(error, ImageError) else "CreateContainerConfigError"
            waiting = Waiting(reason, str(error))
            if waiting != local.waiting:
                self._recorder.record(pod, "Failed", f"Error: {error}", warning=True)
            local.waiting = waiting
            return _START_RETRY_S
        container = only_container(pod)
        image = container.get("image", "")
        python = interpreter(image, pod["metadata"].get("annotations") or {})
        self._recorder.record(pod, "Pulled", f'Image "{image}" stands for {python}')
        self._recorder.record(pod, "Created", f"Created container: {container['name']}")
        self._supervisor.start(spec)
        local.waiting = None
        return None

    async def _delete(self, key: Key, pod: Object, local: _Local | None) -> None:
        """Ends a pod that is marked for deletion, and removes it once its process has ended."""
        if local is None or local.ended:
            await self.client.delete(PODS, key[1], key[0], uid=pod["metadata"]["uid"], grace_s=0)
            self._pods.pop(key, None)
            self._remove_logs(key)
            return
        grace_s = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
        if local.ending is None:
            self._recorder.record(pod, "Killing", f"Stopping container {pod['spec']['containers'][0]['name']}")
            # Nobody sends requests to a pod that was not ready.
            drain_s = min(DRAIN_S, grace_s) if self._supervisor.is_ready(_process(*key)) else 0
            self._end(key, local, drain_s=drain_s, grace_s=grace_s - drain_s)
        local.pod = pod
        await self._write(key, local)

    def _end(self, key: Key, local: _Local, *, drain_s: float, grace_s: float) -> None:
        """Begins to end the process of a pod, if that has not begun."""
        if local.ending is None:
            if local.preparing is not None:
                local.preparing.cancel()
            local.ending = asyncio.create_task(self._finish(key, local, drain_s, grace_s))

    async def _finish(self, key: Key, local: _Local, drain_s: float, grace_s: float) -> None:
        if drain_s > 0:
            await asyncio.sleep(drain_s)
        await self._supervisor.stop(_process(*key), grace_s=max(0.0, grace_s))
        shutil.rmtree(local.folder, ignore_errors=True)
        self._addresses.release(local.address)
        local.ended = True
        pod = self.cache.get(PODS, key)
        if pod is None or pod["metadata"]["uid"] != local.uid:
            del self._pods[key]
        if pod is None:
            self._remove_logs(key)
        self.enqueue(key)

    def _remove_logs(self, key: Key) -> None:
        log = self._supervisor.log(_process(*key))
        for path in log.parent.glob(f"{log.name}*"):
            path.unlink(missing_ok=True)

    async def _write(self, key: Key, local: _Local) -> None:
        """Writes the status of a pod, if it has changed."""
        process = self._supervisor.status_of(_process(*key))
        seen = Seen(local.address, local.waiting, process, local.earlier)
        status = pod_status(local.pod, seen, local.written, time.time())
        if status != local.written:
            await self._merge_status(key, status)
            local.written = status

    async def _merge_status(self, key: Key, status: Object) -> None:
        namespace, name = key
        await self.client.merge(PODS, name, namespace, {"status": status}, subresource="status")

    def _happened(self, event: Event) -> None:
        namespace, _, name = event.process.partition("/")
        key = (namespace, name)
        local = self._pods.get(key)
        if local is None:
            return
        self.enqueue(key)
        container = local.pod["spec"]["containers"][0]["name"]
        match event.happening:
            case "started":
                self._recorder.record(local.pod, "Started", f"Started container {container} ({event.message})")
            case "unready" | "unhealthy":
                self._recorder.record(local.pod, "Unhealthy", event.message, warning=True)
            case "exited":
                finished = event.message.endswith("exit code 0")
                reason = "Completed" if finished else "BackOff"
                self._recorder.record(local.pod, reason, f"{container} {event.message}", warning=not finished)

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_S)
            for namespace, name in list(self._pods):
                log = self._supervisor.log(_process(namespace, name))
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(bound_log, log, _LOG_BYTES)


def _resolved(pod: Object) -> Path | None:
    """The folder that a pod's storage URI stood for when it started first, if that is still there."""
    known = (pod["metadata"].get("annotations") or {}).get(STORAGE_RESOLVED, "")
    return Path(known) if known and Path(known).is_dir() else None


def _process(namespace: str, pod: str) -> str:
    return f"{namespace}/{pod}"

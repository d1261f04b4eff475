"""Volumes of a pod as folders on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from localcluster.render import ManifestError, Object
from localcluster.variables import Find, values_of

_SCRATCH = {"/tmp", "/dev/shm"}  # noqa: S108  # folders that the machine has as well


def mount(
    pod: Object, container: Object, *, folder: Path, find: Find, claim: Callable[[str], Path | None], where: str
) -> dict[str, Path]:
    """Makes the volumes that a container mounts.

    Args:
        pod: The pod.
        container: Its container.
        folder: Folder of the pod; only its owner may look inside.
        find: Where ConfigMaps and Secrets are.
        claim: From the name of a volume claim to the folder that stands for it.
        where: The container, for messages.

    Returns:
        Mount paths and the folders or files that stand for them.

    Raises:
        ManifestError: A volume has no counterpart here, or what it shows is missing.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    mounted: dict[str, Path] = {}
    for entry in container.get("volumeMounts") or []:
        volume, path = volumes.get(entry["name"]), entry["mountPath"].rstrip("/")
        here = f"{where}: volume {entry['name']} at {entry['mountPath']}"
        if volume is None:
            raise ManifestError(f"{here}: the pod has no such volume")
        if "subPathExpr" in entry:
            raise ManifestError(f"{here}: subPathExpr has no counterpart on this machine; use subPath")
        if "emptyDir" in volume and path in _SCRATCH:
            continue
        made = _make(volume, folder / "volumes" / volume["name"], pod["metadata"]["namespace"], find, claim, here)
        sub_path = PurePosixPath(entry.get("subPath", ""))
        if sub_path.is_absolute() or ".." in sub_path.parts:
            raise ManifestError(f"{here}: subPath must stay within the volume")
        mounted[path] = made / sub_path
    return mounted


def localize(text: str, mounted: Mapping[str, Path]) -> str:
    """Replaces mount paths by the folders that stand for them, where they stand as whole paths or their beginnings."""
    if not mounted:
        return text
    # Of two paths that fit, the longer one was mounted over the other.
    paths = "|".join(re.escape(path) for path in sorted(mounted, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({paths})(?![\w.-])", lambda match: str(mounted[match[1]]), text)


def _make(
    volume: Object, folder: Path, namespace: str, find: Find, claim: Callable[[str], Path | None], where: str
) -> Path:
    if (config_map := volume.get("configMap")) is not None:
        _write(folder, config_map, values_of(find, "ConfigMap", config_map, namespace, where), where)
    elif (secret := volume.get("secret")) is not None:
        reference = {**secret, "name": secret["secretName"]}
        _write(folder, secret, values_of(find, "Secret", reference, namespace, where), where)
    elif "emptyDir" in volume:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif (claimed := volume.get("persistentVolumeClaim")) is not None:
        if (held := claim(claimed["claimName"])) is None:
            raise ManifestError(f"{where}: no folder stands for volume claim {claimed['claimName']!r}")
        return held
    else:
        kind = next((key for key in volume if key != "name"), "?")
        raise ManifestError(
            f"{where}: {kind} has no counterpart on this machine; use configMap, secret, emptyDir or a volume claim"
        )
    return folder


def _write(folder: Path, source: Object, values: Mapping[str, bytes], where: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    items = source.get("items")
    paths = {key: key for key in values} if items is None else {item["key"]: item["path"] for item in items}
    for key, relative in paths.items():
        if key not in values:
            if source.get("optional"):
                continue
            raise ManifestError(f"{where}: there is no key {key!r}")
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts:
            raise ManifestError(f"{where}: {relative}: a path must stay within the volume")
        target = folder / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.touch(mode=0o600)
        target.write_bytes(values[key])

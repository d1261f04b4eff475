"""Storage URIs as folders on this machine: what KServe's storage initializer is to a cluster.

python -m localcluster.storage WORKSPACE URI [CLAIM=FOLDER ...]
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from blueprints.model_package import CHECKSUMS
from blueprints.workspace import Workspace

if TYPE_CHECKING:
    from blueprints.governance.registry import RegisteredModel, Registry

MODELS_CLAIM = "models"
_TIMEOUT_S = 300
_LARGEST_BYTES = 20 << 30
_SCHEMES = "file, pvc, models, mlflow, s3"
_PROJECT = Path(__file__).resolve().parents[1]
_PACKAGE_VERSION = re.compile("[0-9a-f]{12}")
_REGISTERED = re.compile(r"(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))")


class StorageError(Exception):
    """A storage URI cannot be turned into a folder."""


class Storage:
    """Resolves storage URIs.

    `file:///folder`, `pvc://<claim>/<path>`, `models:/<name>/<version>` and `models:/<name>@<alias>` (MLflow's own
    form; also `mlflow://<name>@<alias>`), and `s3://<bucket>/<prefix>`. `pvc://models/<name>/<alias or version>` that
    is no folder of the claim is looked up in the registry, so that a laptop needs no volume.

    Args:
        workspace: Where volumes, the registry and what was fetched lie.
        volumes: Name of a volume claim to the folder that stands for it; the claim `models` is
            `<workspace>/volumes/models` if it is not among them.
    """

    def __init__(self, workspace: Workspace, volumes: Mapping[str, Path] | None = None) -> None:
        self._workspace = workspace
        self._volumes = {MODELS_CLAIM: workspace.root / "volumes" / MODELS_CLAIM, **(volumes or {})}
        self._under_way: dict[str, asyncio.Task[Path]] = {}

    def claim(self, name: str) -> Path | None:
        """The folder that stands for a volume claim, None if none does."""
        return self._volumes.get(name)

    async def fetch(self, uri: str, *, timeout_s: float = _TIMEOUT_S) -> Path:
        """`resolve` without blocking: what takes time is done by a process of its own, once for all who ask meanwhile.

        Raises:
            StorageError: It cannot be resolved, or not in time.
        """
        if (folder := self._here(uri)) is not None:
            return folder
        task = self._under_way.get(uri)
        if task is None:
            task = self._under_way[uri] = asyncio.create_task(self._in_a_process(uri, timeout_s))
            task.add_done_callback(lambda ended: self._fetched(uri, ended))
        return await asyncio.shield(task)

    def resolve(self, uri: str) -> Path:
        """The folder that a URI stands for; may take long.

        Raises:
            StorageError: It cannot be resolved.
        """
        if (folder := self._here(uri)) is not None:
            return folder
        scheme, _, rest = uri.partition(":")
        path = rest.lstrip("/")
        match scheme:
            case "pvc":
                claim, _, inside = path.partition("/")
                if claim != MODELS_CLAIM or inside.count("/") != 1:
                    raise StorageError(f"{uri}: no such folder: {self._volumes[claim] / inside}")
                name, _, version = inside.partition("/")
                return self._registered(name, version, version, uri)
            case "models" | "mlflow":
                if (match := _REGISTERED.fullmatch(path)) is None:
                    raise StorageError(f"{uri}: write it as models:/<name>/<version> or models:/<name>@<alias>")
                return self._registered(match["name"], match["alias"] or "", match["version"] or "", uri)
            case _:
                return self._s3(uri)

    def _here(self, uri: str) -> Path | None:
        """The folder if it is on this machine already, None if it must be fetched."""
        parts = urlsplit(uri)
        match parts.scheme:
            case "file":
                folder = Path(unquote(parts.path))
                if parts.netloc not in {"", "localhost"} or not folder.is_dir():
                    raise StorageError(f"{uri}: no such folder; write file:// and the path of a model package")
                return folder.resolve()
            case "pvc":
                root = self._volumes.get(parts.netloc)
                if root is None:
                    known = ", ".join(sorted(self._volumes))
                    raise StorageError(f"{uri}: no folder stands for volume claim {parts.netloc!r}; there is: {known}")
                inside = PurePosixPath(parts.path.lstrip("/"))
                if ".." in inside.parts:
                    raise StorageError(f"{uri}: a path must stay within its volume")
                folder = root / inside
                if folder.is_dir():
                    return folder.resolve()
                return self._fetched_before(inside) if parts.netloc == MODELS_CLAIM else None
            case "models":
                return self._fetched_before(PurePosixPath(parts.path.lstrip("/")))
            case "mlflow" | "s3":
                return None
            case scheme:
                raise StorageError(f"{uri}: {scheme or 'a URI without a scheme'} is not known here; use {_SCHEMES}")

    def _fetched_before(self, path: PurePosixPath) -> Path | None:
        """The package of `<model>/<version>` if the workspace has it: a version is the hash of all that is in it."""
        if len(path.parts) != 2 or not _PACKAGE_VERSION.fullmatch(path.name):
            return None
        folder = self._workspace.models / path
        try:
            digest = hashlib.sha256((folder / CHECKSUMS).read_bytes()).hexdigest()
        except OSError:
            return None
        return folder.resolve() if digest.startswith(path.name) else None

    def _fetched(self, uri: str, ended: asyncio.Task[Path]) -> None:
        self._under_way.pop(uri, None)
        if not ended.cancelled():
            # Those who asked may be gone by now; then nobody else looks at a failure.
            ended.exception()

    async def _in_a_process(self, uri: str, timeout_s: float) -> Path:
        # MLflow takes seconds to import, in which the cluster would answer nobody; and a process can be ended.
        volumes = [f"{name}={folder}" for name, folder in self._volumes.items()]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "localcluster.storage", str(self._workspace.root), uri, *volumes),
            cwd=_PROJECT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                output, errors = await process.communicate()
        except TimeoutError:
            raise StorageError(f"{uri}: not there after {timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = errors.decode(errors="replace").strip()
        if process.returncode != 0:
            raise StorageError(said.splitlines()[-1] if said else f"{uri}: ended with {process.returncode}")
        return Path(output.decode().splitlines()[-1])

    def _registered(self, name: str, alias: str, version: str, uri: str) -> Path:
        from blueprints.governance.registry import Registry, RegistryError
        from blueprints.model_package import PackageError

        store = self._workspace.tracking_uri
        if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
            raise StorageError(f"{uri}: the registry {store} is empty; train a model first: blueprints run {name}")
        registry = Registry(workspace=self._workspace)
        try:
            model = _find(registry, name, alias, version)
            if model is None:
                raise StorageError(f"{uri}: the registry has no {name!r} {alias or version!r}; blueprints run {name}")
            return registry.fetch(model, self._workspace.models / name / model.package_version).folder
        except (RegistryError, PackageError) as error:
            raise StorageError(f"{uri}: {error}") from error

    def _s3(self, uri: str) -> Path:
        import s3fs  # type: ignore[import-untyped]

        timeouts = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}}
        remote = s3fs.S3FileSystem(config_kwargs=timeouts, use_listings_cache=False, skip_instance_cache=True)
        prefix = uri.removeprefix("s3://").rstrip("/")
        try:
            found = remote.find(prefix, detail=True)
        except Exception as error:
            raise StorageError(f"{uri}: {error}; see AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID of the cluster") from error
        files = {
            name.removeprefix(prefix).lstrip("/") or PurePosixPath(name).name: entry for name, entry in found.items()
        }
        if not files:
            raise StorageError(f"{uri}: there is nothing there")
        if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
            raise StorageError(f"{uri}: a name there would lie outside the folder")
        if sum(entry["size"] for entry in files.values()) > _LARGEST_BYTES:
            raise StorageError(f"{uri}: more than {_LARGEST_BYTES >> 30} GiB; name the folder of one model")
        # Another content has other entity tags, and so another folder.
        tags = sorted((name, str(entry.get("ETag")), entry["size"]) for name, entry in files.items())
        folder = self._workspace.downloads / "s3" / hashlib.sha256(repr((prefix, tags)).encode()).hexdigest()[:24]
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder.parent))
        try:
            for name, entry in files.items():
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                remote.get_file(entry["name"], str(target))
            if not folder.is_dir():
                staging.replace(folder)
        except Exception as error:
            if not folder.is_dir():
                raise StorageError(f"{uri}: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return folder


def _find(registry: Registry, name: str, alias: str, version: str) -> RegisteredModel | None:
    """The version with an alias, else with the package version, else with the number."""
    if alias and (model := registry.by_alias(name, alias)) is not None:
        return model
    if version and (model := registry.by_package_version(version)) is not None and model.name == name:
        return model
    return registry.by_number(name, version) if version.isdecimal() else None


def _main(workspace: str, uri: str, *volumes: str) -> int:
    mapping = {name: Path(folder) for name, _, folder in (volume.partition("=") for volume in volumes)}
    try:
        folder = Storage(Workspace(Path(workspace)), mapping).resolve(uri)
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

"""The model registry: MLflow versions that point to model packages, aliases, and the log of promotions."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from blueprints.model_package import ModelPackage, open_package
from blueprints.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
EXPERIMENT = "blueprints"
PACKAGE_ARTIFACT = "package"


class RegistryError(Exception):
    """The registry cannot do what was asked."""


class RegisteredModel(BaseModel):
    """One version of a registered model.

    Attributes:
        name: Name in the registry.
        number: MLflow's version number.
        package_version: Version of the model package.
        run_id: MLflow run that logged it.
        source: Where its package lies.
    """

    name: str
    number: str
    package_version: str
    run_id: str
    source: str


class Promotion(BaseModel):
    """One line of the promotion log.

    Attributes:
        at: When, UTC.
        name: Registered model.
        number: Version that became champion.
        package_version: Its package.
        previous: Version number of the champion before; empty for a first one.
        by: Who or what promoted it.
        reason: Why it was allowed.
    """

    at: datetime
    name: str
    number: str
    package_version: str
    previous: str
    by: str
    reason: str


class Registry:
    """Models, versions and aliases in MLflow.

    Args:
        tracking_uri: MLflow's store; the workspace's by default.
        workspace: Where artifacts and the promotion log lie.
    """

    def __init__(self, tracking_uri: str | None = None, workspace: Workspace | None = None) -> None:
        self._workspace = workspace or Workspace.current()
        self._uri = tracking_uri or self._workspace.tracking_uri
        self._workspace.root.mkdir(parents=True, exist_ok=True)

    def log_and_register(
        self,
        name: str,
        package: ModelPackage,
        *,
        reports: Mapping[str, Path],
        experiment: str = EXPERIMENT,
    ) -> RegisteredModel:
        """Logs a package with its figures and reports as a run, and registers it as `challenger`.

        A package that is registered already is found again by its version, so a repeated call changes nothing but
        the alias.

        Args:
            name: Name in the registry; made if it is new.
            package: The verified package.
            reports: HTML files by name.
            experiment: MLflow experiment of the run.
        """
        with self._mlflow() as client:
            _ensure_registered(client, name)
            known = client.search_model_versions(f"name = '{name}' and tag.package_version = '{package.version}'")
            if known:
                registered = _registered(known[0])
            else:
                run_id = self._log(client, name, package, reports, experiment)
                version = client.create_model_version(
                    name,
                    source=f"{client.get_run(run_id).info.artifact_uri}/{PACKAGE_ARTIFACT}",
                    run_id=run_id,
                    tags={"package_version": package.version, "package_digest": package.digest},
                )
                registered = _registered(version)
            client.set_registered_model_alias(name, CHALLENGER, registered.number)
            return registered

    def log_run(
        self,
        name: str,
        metrics: Mapping[int, Mapping[str, float]],
        files: Mapping[str, bytes],
        *,
        parameters: Mapping[str, Any] | None = None,
        experiment: str = EXPERIMENT,
    ) -> str:
        """Logs figures of several steps, such as one each number of clusters, and files beside them.

        Args:
            name: Name of the run.
            metrics: Figures of each step.
            files: Content of each file, by its path in the run's artifacts.
            parameters: What was chosen.
            experiment: MLflow experiment of the run.

        Returns:
            MLflow's id of the run.
        """
        import tempfile

        with self._mlflow() as client, tempfile.TemporaryDirectory() as folder:
            tags = {"mlflow.runName": name}
            run_id = str(client.create_run(self._experiment(client, experiment), tags=tags).info.run_id)
            status = "FAILED"
            try:
                for key, value in (parameters or {}).items():
                    client.log_param(run_id, key, value)
                for step, figures in metrics.items():
                    for key, figure in figures.items():
                        client.log_metric(run_id, key, figure, step=step)
                for path, content in files.items():
                    file = Path(folder) / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                client.log_artifacts(run_id, folder)
                status = "FINISHED"
            finally:
                client.set_terminated(run_id, status)
        return run_id

    def by_alias(self, name: str, alias: str) -> RegisteredModel | None:
        """The version that an alias points to, or None."""
        from mlflow.exceptions import MlflowException

        with self._mlflow() as client:
            try:
                return _registered(client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def by_number(self, name: str, number: str) -> RegisteredModel:
        """The version with that number.

        Raises:
            RegistryError: There is none.
        """
        from mlflow.exceptions import MlflowException

        with self._mlflow() as client:
            try:
                return _registered(client.get_model_version(name, number))
            except MlflowException as error:
                raise RegistryError(f"no version {number!r} of model {name!r} in {self._uri}") from error

    def by_package_version(self, package_version: str) -> RegisteredModel | None:
        """The registered version of a package, or None."""
        if re.fullmatch("[0-9a-f]{12}", package_version) is None:
            return None
        with self._mlflow() as client:
            found = client.search_model_versions(f"tag.package_version = '{package_version}'")
            return _registered(found[0]) if found else None

    def fetch(self, model: RegisteredModel, folder: Path) -> ModelPackage:
        """Copies a version's package into a folder and verifies it.

        Args:
            model: The version.
            folder: Kept if the package is there already.

        Raises:
            PackageError: What the registry holds, or the folder, is no intact package.
            RegistryError: It is another package than the one that was registered.
        """
        import shutil
        import tempfile

        import mlflow

        if not (folder / "SHA256SUMS").is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                with self._mlflow():
                    copied = Path(
                        mlflow.artifacts.download_artifacts(
                            artifact_uri=model.source, dst_path=str(staging), tracking_uri=self._uri
                        )
                    )
                _open(copied, model, f"{model.source}: refuse it and register the model again")
                # Another process may have been faster; what it left is verified below.
                with suppress(OSError):
                    copied.replace(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return _open(folder, model, f"{folder}: delete the folder and fetch again")

    def champion(self, name: str) -> ModelPackage:
        """The package of the champion, fetched into the workspace and verified.

        Raises:
            RegistryError: There is no champion.
        """
        model = self.by_alias(name, CHAMPION)
        if model is None:
            raise RegistryError(f"no champion of {name!r} in {self._uri}; make one with: blueprints run {name}")
        return self.fetch(model, self._workspace.models / name / model.package_version)

    def promote(self, model: RegisteredModel, *, by: str, reason: str) -> Promotion | None:
        """Makes a version the champion and writes the promotion log.

        Returns:
            The log's new line, or None if it was the champion already.
        """
        # One promotion at a time, so that the log's order is the order in which the alias moved.
        with _appending(self._workspace.promotions) as append:
            previous = self.by_alias(model.name, CHAMPION)
            if previous is not None and previous.number == model.number:
                return None
            promotion = Promotion(
                at=datetime.now(UTC),
                name=model.name,
                number=model.number,
                package_version=model.package_version,
                previous="" if previous is None else previous.number,
                by=by,
                reason=reason,
            )
            # The log first: a crash in between leaves a line for a promotion that a retry completes, none is unlogged.
            append(promotion.model_dump_json())
            with self._mlflow() as client:
                client.set_registered_model_alias(model.name, CHAMPION, model.number)
                client.set_model_version_tag(model.name, model.number, "promotion", promotion.model_dump_json())
        return promotion

    def promotions(self) -> list[Promotion]:
        """The promotion log, oldest first."""
        if not self._workspace.promotions.exists():
            return []
        lines = self._workspace.promotions.read_text().splitlines()
        return [Promotion.model_validate_json(line) for line in lines if line]

    def _log(
        self, client: MlflowClient, name: str, package: ModelPackage, reports: Mapping[str, Path], experiment: str
    ) -> str:
        import mlflow
        import mlflow.data
        from mlflow.entities import DatasetInput, InputTag

        lineage = package.lineage
        experiment_id = self._experiment(client, experiment)
        tags = {
            "mlflow.runName": f"{name}-{package.version}",
            "pipeline_run": lineage.pipeline_run,
            "git_commit": lineage.git_commit,
            "package_version": package.version,
        }
        run_id = str(client.create_run(experiment_id, tags=tags).info.run_id)
        status = "FAILED"
        try:
            for key, value in lineage.parameters.items():
                client.log_param(run_id, key, value)
            for key, figure in lineage.metrics.items():
                client.log_metric(run_id, key, figure)
            snapshot = mlflow.data.from_pandas(  # type: ignore[attr-defined]
                package.reference().to_pandas(), name=lineage.dataset, digest=lineage.dataset_sha256[:36]
            )
            client.log_inputs(
                run_id, [DatasetInput(snapshot._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])]
            )
            for report, path in reports.items():
                client.log_text(run_id, path.read_text(encoding="utf-8"), f"reports/{report}.html")
            client.log_artifacts(run_id, str(package.folder), PACKAGE_ARTIFACT)
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status)
        return run_id

    def _experiment(self, client: MlflowClient, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        local = self._uri.startswith("sqlite:")
        location = (self._workspace.registry_artifacts / name).as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=location))

    @contextmanager
    def _mlflow(self) -> Iterator[MlflowClient]:
        # Before the import: MLflow reads them then.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "1")
        import logging

        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # No mlflow.set_tracking_uri: it would write the environment, and so move every other workspace of this process.
        yield mlflow.MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)


def _ensure_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered(version: Any) -> RegisteredModel:
    return RegisteredModel(
        name=version.name,
        number=str(version.version),
        package_version=version.tags.get("package_version", ""),
        run_id=version.run_id,
        source=version.source,
    )


def _open(folder: Path, model: RegisteredModel, otherwise: str) -> ModelPackage:
    package = open_package(folder)
    if package.version != model.package_version:
        raise RegistryError(
            f"version {model.number} of {model.name!r} is package {model.package_version}, not {package.version} as in "
            f"{otherwise}"
        )
    return package


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[str], None]]:
    """Locks a log against other processes and gives the function that writes a line to it, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(line: str) -> None:
        os.write(descriptor, (line + "\n").encode())
        os.fsync(descriptor)

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield append
    finally:
        os.close(descriptor)

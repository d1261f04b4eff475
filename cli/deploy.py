"""`blueprints deploy`, `delete`, `logs`: a blueprint's manifests on a cluster, by kubectl."""

from __future__ import annotations

import json as json_module
import re
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from blueprints.workspace import Workspace
from cli.output import Json, console, escape, fail, known_errors, print_json
from cli.status import ROLES, ServiceView, services_table, snapshot
from cli.target import Context, Object, Target, target

PROJECT = Path(__file__).resolve().parents[1]
LOCAL_OVERLAY = PROJECT / "kustomize" / "overlays" / "local"
MANAGER = "blueprints"

_NAME = "app.kubernetes.io/name"
_POLL_S = 0.25
_STORAGE_URI = re.compile(r"(pvc|s3|gs|file|models)://?\S+$")

Overlay = Annotated[Path, typer.Option(help="kustomize overlay that describes it.")]


def deploy(
    blueprint: Annotated[str, typer.Argument(help="Name of the blueprint, such as credit-risk.")],
    overlay: Overlay = LOCAL_OVERLAY,
    package: Annotated[
        str | None, typer.Option(help="Version of the model package; what the manifest names by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Registered model whose champion to serve; the manifest's by default.")
    ] = None,
    context: Context = None,
    force: Annotated[bool, typer.Option("--force", help="Deploy even while a rollout is under way.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it is ready; 0 does not wait.", min=0)] = 180,
    json: Json = False,
) -> None:
    """Deploy a blueprint from an overlay and wait until it is ready."""
    where = target(context)
    objects = pinned(of_blueprint(blueprint, overlay), package=package, model=model, by_registry=context is None)
    view = apply(where, objects, force=force, timeout_s=timeout, quiet=json)
    if json:
        print_json([one.as_json() for one in view])
        return
    console.print(services_table(view))


def delete(
    blueprint: Annotated[str, typer.Argument(help="Name of the blueprint.")],
    overlay: Overlay = LOCAL_OVERLAY,
    context: Context = None,
) -> None:
    """Delete what a blueprint has in a cluster, a candidate included; its namespace stays."""
    where = target(context)
    objects = [item for item in of_blueprint(blueprint, overlay) if item["kind"] != "Namespace"]
    kinds = ",".join(sorted({item["kind"].lower() for item in objects}))
    (namespace,) = {item["metadata"].get("namespace", "default") for item in objects}
    removed = where.kubectl(
        "delete", kinds, f"--selector={_NAME}={blueprint}", f"--namespace={namespace}", "--ignore-not-found"
    )
    console.print(escape(removed.strip() or f"{blueprint}: nothing was there"))


def logs(
    service: Annotated[str, typer.Argument(help="InferenceService.")],
    part: Annotated[str | None, typer.Option(help=f"One of {', '.join(ROLES)}; all by default.")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "blueprints-local",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option(help="Last lines of each process; -1 for all.")] = 50,
    context: Context = None,
) -> None:
    """Show the logs of a service's processes, each line with the name of its pod."""
    from localcluster.render import kubectl

    if part is not None and part not in ROLES:
        raise fail(f"no part {part!r}; there are {', '.join(ROLES)}", code=2)
    where = target(context)
    selector = f"serving.kserve.io/inferenceservice={service}" + (f",component={part}" if part else "")
    command = [
        *(str(kubectl()), *where.arguments, "logs", f"--namespace={namespace}", f"--selector={selector}"),
        *("--prefix", "--max-log-requests=50", f"--tail={tail}"),
        *(["--follow"] if follow else []),
    ]
    there = where.objects("inferenceservices", "--all-namespaces")
    if (namespace, service) not in {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in there}:
        raise fail(f"no InferenceService {service!r} in {namespace}; see blueprints status", code=3)
    try:
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    except KeyboardInterrupt:
        return


def of_blueprint(blueprint: str, overlay: Path) -> list[Object]:
    """What an overlay says about one blueprint, and what belongs to none: the namespace, options that all share."""
    from localcluster.render import render

    with known_errors():
        everything = render(overlay)
    owners = [(item["metadata"].get("labels") or {}).get(_NAME, "") for item in everything]
    if blueprint not in owners:
        there = ", ".join(sorted({*owners} - {""}))
        raise fail(f"no blueprint {blueprint!r} in {overlay}; there is {there or 'none'}", code=2)
    return [item for item, owner in zip(everything, owners, strict=True) if owner in {"", blueprint}]


def pinned(
    objects: list[Object], *, package: str | None = None, model: str | None = None, by_registry: bool = True
) -> list[Object]:
    """Gives storage URIs that end in `<model>/<alias>` the version that the alias stands for now.

    So a new champion is a new specification, which rolls out, and what runs does not depend on where an alias moves.

    Args:
        objects: The manifests.
        package: Version to use instead of every alias.
        model: Registered model to use instead of the one that is named.
        by_registry: Whether aliases are looked up in this workspace's registry.
    """
    from blueprints.governance.registry import CHALLENGER, CHAMPION, Registry

    def pin(uri: str) -> str:
        rest, _, alias = uri.rpartition("/")
        if alias not in {CHAMPION, CHALLENGER}:
            return uri
        claim, _, named = rest.rpartition("/")
        name = model or named
        if package is not None:
            if by_registry:
                _refuse_unknown(name, package)
            return f"{claim}/{name}/{package}"
        if not by_registry:
            return f"{claim}/{name}/{alias}"
        # As for pods: a folder of the claim comes before the registry.
        aliased = f"{claim}/{name}/{alias}"
        if (Workspace.current().volumes / aliased.partition("://")[2]).is_dir():
            return aliased
        with known_errors():
            registered = Registry().by_alias(name, alias)
        if registered is None:
            raise fail(f"no {alias} of {name!r} in this workspace; train one: blueprints run {named}")
        return f"{claim}/{name}/{registered.package_version}"

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return pin(node) if isinstance(node, str) and _STORAGE_URI.match(node) else node

    return [walk(item) for item in objects]


def _refuse_unknown(model: str, package: str) -> None:
    """Pods would wait for a package that nobody has."""
    from blueprints.governance.registry import Registry

    if (Workspace.current().volumes / "models" / model / package).is_dir():
        return
    with known_errors():
        known = Registry().by_package_version(package)
    if known is None:
        raise fail(f"no model package {package!r} of {model!r} in this workspace; see .blueprints/models/{model}")


def apply(
    where: Target, objects: list[Object], *, force: bool = False, timeout_s: float = 180, quiet: bool = False
) -> list[ServiceView]:
    """Applies objects and waits until their InferenceServices are ready.

    Raises:
        typer.Exit: A rollout is under way, something was refused, or a service does not become ready.
    """
    services = [item["metadata"] for item in objects if item["kind"] == "InferenceService"]
    if not force:
        _refuse_during_rollout(where, objects)
    where.kubectl(
        *("apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "--filename=-"),
        stdin="\n---\n".join(map(json_module.dumps, objects)),
    )
    deadline = time.monotonic() + timeout_s
    shown = Console(quiet=True) if quiet else console
    with Live(console=shown, transient=True, auto_refresh=False) as live:
        while True:
            wanted = [(one["namespace"], one["name"]) for one in services]
            view = [one for one in snapshot(where)[0] if (one.namespace, one.name) in wanted]
            live.update(services_table(view), refresh=True)
            if timeout_s == 0 or (len(view) == len(wanted) and all(one.ready == "True" for one in view)):
                return view
            if time.monotonic() > deadline:
                said = "; ".join(f"{one.name}: {one.message or 'not ready'}" for one in view if one.ready != "True")
                raise fail(f"{said} after {timeout_s:g} s; look at: blueprints logs {services[0]['name']}")
            time.sleep(_POLL_S)


def _refuse_during_rollout(where: Target, objects: list[Object]) -> None:
    """Applying manifests again would put a rollout's weights back."""
    from blueprints.governance.rollout.adapters.http_route import candidate_weight
    from blueprints.governance.rollout.adapters.records import stored_state
    from blueprints.governance.rollout.state import Phase, StateError

    routes = [item["metadata"] for item in objects if item["kind"] == "HTTPRoute"]
    for metadata in routes:
        with known_errors():
            found = where.objects("httproutes", metadata["name"], f"--namespace={metadata.get('namespace', 'default')}")
            try:
                state = stored_state(found[0]) if found else None
            except StateError as error:
                raise fail(f"{error} (blueprints rollout abort {metadata['name']}), or deploy with --force") from error
        if state is None:
            continue
        if state.phase is Phase.FAILED and candidate_weight(found[0], metadata["name"]):
            raise fail(
                f"the last promotion of {state.rollout.service!r} failed and the candidate still answers: try it again "
                f"(blueprints rollout promote {state.rollout.service}), or deploy over it with --force"
            )
        if not state.phase.over:
            raise fail(
                f"a rollout of {state.rollout.service!r} is under way ({state.phase.replace('_', ' ')}): wait for its "
                f"end, abort it (blueprints rollout abort {state.rollout.service}), or deploy over it with --force"
            )

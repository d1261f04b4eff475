"""Which cluster a command speaks to: the laptop's, or one of the user's own kubeconfig."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import fail

Context = Annotated[
    str | None, typer.Option(help="Context of your own kubeconfig; the laptop cluster by default.", show_default=False)
]

Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A cluster.

    Attributes:
        arguments: What kubectl is told to reach it.
        kubeconfig: Its kubeconfig; None for the user's own.
        context: Context in the kubeconfig; None for the current one.
    """

    arguments: tuple[str, ...]
    kubeconfig: Path | None
    context: str | None

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Runs kubectl and returns what it printed.

        Raises:
            typer.Exit: It failed; its message was printed.
        """
        from localcluster.render import kubectl

        command = [str(kubectl()), *self.arguments, *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise fail(f"kubectl {arguments[0]} took more than {timeout_s:g} s") from error
        if done.returncode:
            raise fail(done.stderr.strip() or f"kubectl {arguments[0]} failed")
        return done.stdout

    def objects(self, kinds: str, *arguments: str) -> list[Object]:
        """Objects of some kinds, as `kubectl get` finds them."""
        answer = json.loads(self.kubectl("get", kinds, "--output=json", "--ignore-not-found", *arguments) or "{}")
        items: list[Object] = answer.get("items", [answer] if answer else [])
        return items


def target(context: str | None = None) -> Target:
    """The cluster that a command means.

    Raises:
        typer.Exit: It means the laptop cluster, which is not up.
    """
    if context is not None:
        return Target((f"--context={context}",), None, context)
    from localcluster import daemon

    state = daemon.status()
    if state is None:
        raise fail(
            "the laptop cluster is not up: blueprints cluster up (or --context NAME for another cluster)", code=3
        )
    return Target((f"--kubeconfig={state.kubeconfig}",), state.kubeconfig, None)

"""`python -m blueprints.datasets snapshot NAME [FOLDER]`: what `dvc.yaml` runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from blueprints.datasets import DatasetError, get, names, write_snapshot
from blueprints.workspace import Workspace


def main(arguments: list[str] | None = None) -> int:
    """Writes one snapshot; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m blueprints.datasets")
    commands = parser.add_subparsers(dest="command", required=True)
    snapshot = commands.add_parser("snapshot", help="write a dataset's snapshot")
    snapshot.add_argument("name", choices=names())
    snapshot.add_argument("folder", type=Path, nargs="?", help="default: the workspace's snapshots/NAME")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder or Workspace.current().snapshots / chosen.name
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True) as bars:
            bar = bars.add_task(chosen.name, total=None)
            info = write_snapshot(
                get(chosen.name),
                folder,
                progress=lambda what, done, total: bars.update(bar, description=what, completed=done, total=total),
            )
    except DatasetError as error:
        console.print(f"[red]error:[/] {error}", highlight=False)
        return 1
    console.print(
        f"{info.name} {info.version}: {info.rows:,} rows, SHA-256 {info.sha256[:12]}, in {folder}", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

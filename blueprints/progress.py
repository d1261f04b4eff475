"""Progress of a long step, told to whoever reads the process's output."""

from __future__ import annotations

import re
import sys

_LINE = re.compile(r"progress: (?P<done>\d+)/(?P<total>\d+) ?(?P<words>.*)$")


def report_progress(done: int, total: int, words: str) -> None:
    """Prints one line of progress, readable by people and by `parse_progress`."""
    sys.stdout.write(f"progress: {done}/{total} {words}\n")
    sys.stdout.flush()


def parse_progress(line: str) -> tuple[int, int, str] | None:
    """Done, total and words of a line that `report_progress` printed, wherever it starts; None for other lines."""
    match = _LINE.search(line.rstrip())
    return None if match is None else (int(match["done"]), int(match["total"]), match["words"])

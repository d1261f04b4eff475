"""The bare model in a loop, without a server: the ceiling that a server is held against.

    python -m benchmarks.sentiment.bare FOLDER BODIES SECONDS WORKERS THREADS BATCH

prints texts/s of so many worker threads that each classify chunks of the texts in BODIES (one `{"text": …}` a line), a
chunk as large as what `CLIENTS` clients can have under way at a time. Tokenizing is part of it, as it is of serving.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import PROJECT

CLIENTS = 32
BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Setting:
    """How the model is run.

    Attributes:
        workers: Calls at one time.
        threads: Threads of each call.
        batch: Texts in a call.
    """

    workers: int
    threads: int
    batch: int


def settings(cores: int) -> list[Setting]:
    """All that are tried with a number of threads in total."""
    layouts = {(cores, 1), (1, cores)}
    return [Setting(*layout, batch) for layout in sorted(layouts) for batch in BATCHES]


def measure(package: Path, bodies: Path, setting: Setting, seconds: float) -> float:
    """Texts/s of the bare model in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    numbers = (seconds, setting.workers, setting.threads, setting.batch)
    command = [sys.executable, "-m", "benchmarks.sentiment.bare", str(package), str(bodies), *map(str, numbers)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60 + seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"the bare model failed: {done.stderr[-800:]}")
    return float(done.stdout)


def _texts_per_second(package: Path, texts: list[str], seconds: float, setting: Setting) -> float:
    from blueprints.model_package import open_package
    from blueprints.sentiment.classifier import TextClassifier

    classifier = TextClassifier.open(open_package(package), threads=setting.threads)
    chunks = [texts[start : start + CLIENTS] for start in range(0, len(texts) - CLIENTS + 1, CLIENTS)]
    classifier.classify(chunks[0], batch=setting.batch)
    begun = time.perf_counter()

    def work(worker: int) -> int:
        done = 0
        for number in itertools.count(worker, setting.workers):
            if time.perf_counter() - begun > seconds:
                return done
            done += len(classifier.classify(chunks[number % len(chunks)], batch=setting.batch))
        raise AssertionError

    with ThreadPoolExecutor(setting.workers) as workers:
        texts_done = sum(workers.map(work, range(setting.workers)))
    return texts_done / (time.perf_counter() - begun)


def main() -> None:
    """Measures one setting."""
    package, bodies, seconds, *numbers = sys.argv[1:]
    texts = [json.loads(line)["text"] for line in Path(bodies).read_text().splitlines()]
    setting = Setting(*map(int, numbers))
    print(_texts_per_second(Path(package), texts, float(seconds), setting))


if __name__ == "__main__":
    main()

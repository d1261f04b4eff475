"""A customer's segment by number, over HTTP, beside a do-nothing chain and a bare read of the feature store."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.figures import Figure, figure
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.processes import Found, answer, call
from benchmarks.servers import PROJECT, running
from blueprints.segmentation import MODEL_NAME
from blueprints.segmentation.store_config import CONFIG_VARIABLE, DATA_VARIABLE, FEATURE_VIEW, StoreConfig
from localcluster.ports import LOOPBACK, free_ports

Progress = Callable[[str], None]

AS_OF = date(1998, 7, 1)
CONFIGS = {"sqlite": "feature_store.yaml", "redis": "feature_store.redis.yaml"}
_BODIES = 2_000
_REDIS_VARIABLE = "FEATURE_STORE_REDIS"
_READY_S = 20.0


@dataclass(frozen=True)
class Round:
    """One measurement of each side, in milliseconds.

    Attributes:
        ours: Percentiles 50 and 99 of the blueprint's chain.
        noop: The same of the do-nothing chain.
        read: The same of one bare read of the store.
    """

    ours: tuple[float, float]
    noop: tuple[float, float]
    read: tuple[float, float]


def online_figures(effort: Effort, scratch: Path, progress: Progress) -> dict[str, Figure]:
    """Latency by customer number with each store that is here."""
    rounds: dict[str, Sequence[Round]] = {}
    folder = scratch / "online"
    call("online", "train", folder=folder)
    with contextlib.ExitStack() as stack:
        noop = stack.enter_context(_noop_chain())
        for name, config in CONFIGS.items():
            environment = {
                CONFIG_VARIABLE: str(PROJECT / "manifests" / "feature_store" / config),
                DATA_VARIABLE: str(folder / name),
            }
            if name == "redis":
                if shutil.which("redis-server") is None:
                    continue
                environment[_REDIS_VARIABLE] = stack.enter_context(redis_server(folder))
            progress(f"filling {name}")
            call("online", "fill", environment=environment, folder=folder)
            progress(f"segments of customers from {name}, and a do-nothing chain, in turns")
            with _chain(folder, environment) as ours:
                rounds[name] = list(_in_turns(ours, noop, folder, environment, effort))
    return figures(rounds)


def figures(rounds: Mapping[str, Sequence[Round]]) -> dict[str, Figure]:
    """What the rounds with each store say; a store without rounds was not there."""
    found = {}
    for name in CONFIGS:
        for quantile, index in (("p50", 0), ("p99", 1)):
            found[f"online_{quantile}_ms_{name}"] = _figure(name, quantile, index, rounds.get(name, ()))
    worst = max((found[f"online_p99_ms_{name}"] for name in CONFIGS), key=lambda one: one["ratio"] or 0.0)
    return {"online_p99_ms": worst, **found}


def _figure(name: str, quantile: str, index: int, rounds: Sequence[Round]) -> Figure:
    if not rounds:
        return figure(float("nan"), "ms", f"not measured: no {name}-server on this machine; install Debian's package")
    ours, noop, read = (
        [sides[index] for sides in (getattr(one, side) for one in rounds)] for side in ("ours", "noop", "read")
    )
    base = [a + b for a, b in zip(noop, read, strict=True)]
    return figure(
        statistics.median(ours),
        "ms",
        f"one customer's segment through transformer, {name} and predictor, {quantile} of one client; baseline: a "
        f"do-nothing transformer and predictor on KServe's SDK over REST v2 ({statistics.median(noop):.3g} ms) and one "
        f"bare read of that customer's features ({statistics.median(read):.3g} ms), each {quantile}, in turns; medians "
        f"of {len(rounds)} rounds",
        baseline=statistics.median(base),
        ratio=statistics.median([a / b for a, b in zip(ours, base, strict=True)]),
    )


def _in_turns(ours: str, noop: str, folder: Path, environment: Mapping[str, str], effort: Effort) -> Iterator[Round]:
    bodies = folder / "customers.jsonl"
    for _ in range(effort.rounds):
        sides = [_percentiles(url, bodies, effort.seconds) for url in (ours, noop)]
        read = call("online", "read", environment=environment, bodies=bodies, seconds=effort.seconds / 2)
        yield Round(sides[0], sides[1], (read["p50"], read["p99"]))


def _percentiles(url: str, bodies: Path, seconds: float) -> tuple[float, float]:
    measured = load.run(load.Plan(url, bodies, seconds, clients=1))
    if measured.failures():
        raise RuntimeError(f"{url}: requests failed; their number by status: {measured.statuses}")
    return measured.percentile(0.5) * 1000, measured.percentile(0.99) * 1000


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing, on loopback; its address.

    Raises:
        RuntimeError: It did not start.
    """
    (port,) = free_ports(1)
    command = ["redis-server", "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _READY_S
        while not _pongs(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not answer on port {port}")
            time.sleep(0.05)
        yield f"{LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextlib.contextmanager
def _chain(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The blueprint's predictor and transformer; the URL that takes customers."""
    with _pair(
        [f"inference_services.{MODEL_NAME}.{part}" for part in ("predictor", "transformer")],
        [f"--model_dir={folder / 'package'}", "--enable_grpc=false"],
        "/readyz",
        environment,
        folder,
    ) as url:
        yield f"{url}/v1/models/{MODEL_NAME}:predict"


@contextlib.contextmanager
def _noop_chain() -> Iterator[str]:
    """Do-nothing servers on KServe's SDK."""
    with _pair(["benchmarks.noop predictor", "benchmarks.noop transformer"], [], "/", {}, None) as url:
        yield f"{url}/v1/models/noop:predict"


@contextlib.contextmanager
def _pair(
    programs: Sequence[str], flags: Sequence[str], ready: str, environment: Mapping[str, str], logs: Path | None
) -> Iterator[str]:
    """A predictor and a transformer in front of it; the transformer's URL."""
    ports = free_ports(2)
    chained = [f"--predictor_host={LOOPBACK}:{ports[0]}", "--predictor_protocol=v2"]
    with contextlib.ExitStack() as stack:
        urls = [
            stack.enter_context(
                running(
                    [sys.executable, "-m", *program.split(), f"--http_port={port}", *flags, *more],
                    port=port,
                    ready_path=ready,
                    environment=environment,
                    log=logs / f"{program}.log" if logs else None,
                )
            ).url
            for program, port, more in zip(programs, ports, ([], chained), strict=True)
        ]
        yield urls[1]


def train(folder: str) -> Found:
    """Features, model package and requests of CDNOW's customers."""
    from blueprints import datasets
    from blueprints.segmentation.customers import feature_batches
    from blueprints.segmentation.features import FEATURES, publish_features
    from blueprints.segmentation.packaging import package_segmenter
    from blueprints.segmentation.partitions import summarize
    from blueprints.segmentation.training import train_segments
    from blueprints.segmentation.transactions import CUSTOMER, TRANSACTIONS, transaction_batches
    from blueprints.segmentation.warehouse import open_warehouse

    target = Path(folder)
    with open_warehouse(_warehouse(target)) as warehouse:
        warehouse.load(TRANSACTIONS, transaction_batches(datasets.get("cdnow").load()))
        publish_features(warehouse, AS_OF)
        names = [column.name for column in FEATURES]
        batches = list(feature_batches(warehouse, AS_OF, names))
    summary = summarize(batches, names, identifier=CUSTOMER)
    train_segments(summary, FEATURES, ks=[5], bootstraps=0).save(target / "model")
    package_segmenter(
        target / "package",
        target / "model",
        summary.to_bytes(),
        dataset="cdnow",
        run_date=AS_OF.isoformat(),
        pipeline_run="benchmark",
    )
    customers = np.concatenate([batch.column(CUSTOMER).to_numpy() for batch in batches])
    asked = np.random.default_rng(0).choice(customers, min(_BODIES, len(customers)), replace=False)
    bodies = [json.dumps({"instances": [{CUSTOMER: customer}]}) for customer in asked.tolist()]
    (target / "customers.jsonl").write_text("\n".join(bodies) + "\n")
    return {"customers": len(customers)}


def fill(folder: str) -> Found:
    """Puts the features into the online store that the environment names."""
    from blueprints.segmentation.feature_store import materialize
    from blueprints.segmentation.warehouse import open_warehouse

    with open_warehouse(_warehouse(Path(folder)), read_only=True) as warehouse:
        return {"rows": materialize(warehouse, AS_OF, StoreConfig.current())}


def read(bodies: str, seconds: float) -> Found:
    """Reads the features of one customer after the other, by the database's own client and nothing else."""
    from blueprints.segmentation.features import FEATURES
    from blueprints.segmentation.online_features import encode_keys
    from blueprints.segmentation.transactions import CUSTOMER

    requests = [json.loads(line)["instances"][0][CUSTOMER] for line in Path(bodies).read_text().splitlines()]
    one = _bare_read(StoreConfig.current())
    latencies = []
    begun = time.perf_counter()
    for number, key in enumerate(_endlessly(encode_keys(requests))):
        before = time.perf_counter()
        found = one(key)
        after = time.perf_counter()
        latencies.append(after - before)
        if len(found) < len(FEATURES):
            raise RuntimeError(f"the store does not hold the features of customer {requests[number % len(requests)]}")
        if after - begun > seconds:
            break
    p50, p99 = np.quantile(latencies[len(latencies) // 10 :], [0.5, 0.99]) * 1000
    return {"p50": p50, "p99": p99, "reads": len(latencies)}


def _endlessly(keys: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from keys


def _bare_read(config: StoreConfig) -> Callable[[bytes], Any]:
    """What gives the encoded features of a key, by one command of the store."""
    if config.online["type"] == "sqlite":
        import sqlite3

        connection = sqlite3.connect(config.online_path)
        sql = f'SELECT feature_name, value FROM "{config.project}_{FEATURE_VIEW}" WHERE entity_key = ?'  # noqa: S608
        return lambda key: connection.execute(sql, (key,)).fetchall()
    import redis

    host, _, port = str(config.online["connection_string"]).partition(":")
    client: Any = redis.Redis(host=host, port=int(port))
    return lambda key: client.hgetall(key + config.project.encode())


def _warehouse(folder: Path) -> str:
    return f"duckdb:///{folder / 'warehouse.duckdb'}"


if __name__ == "__main__":
    answer({"train": train, "fill": fill, "read": read})

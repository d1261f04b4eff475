"""How a server is started: the flags that KServe passes, and ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any, Literal

WORKER_INDEX = "SERVING_WORKER_INDEX"
"""Environment variable that each of several processes finds its number in."""

_MOST_WORKERS = 256
_MOST_BYTES = 2**30
_MOST_REQUESTS = 100_000
PredictorProtocol = Literal["v2", "grpc-v2"]
AddFlags = Callable[[argparse._ArgumentGroup], object]


def integer(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of a flag for whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text}: give a whole number from {least} to {most}")
        return int(text)

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """The type of a flag for numbers from `least` to `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: give a number from {least:g} to {most:g}")
        return value

    return read


positive_int = integer(1)
non_negative_int = integer(0)
positive_seconds = number(0.001, 86_400)
non_negative_seconds = number(0, 86_400)
_port = integer(1, 65_535)


@dataclass(frozen=True)
class Options:
    """Settings of one server process.

    Attributes:
        model_name: Name to answer under; empty for the name in the model package.
        model_dir: Folder of the model package.
        host: Address to bind, for REST and gRPC.
        http_port: Port of REST.
        grpc_port: Port of gRPC.
        enable_grpc: Whether to serve gRPC at all.
        predictor_host: `host:port` of the predictor, for transformers; empty if there is none.
        predictor_protocol: How to talk to the predictor.
        predictor_timeout: Seconds that the predictor has for an answer.
        max_body: Largest request body, in bytes.
        max_rows: Most rows in one request.
        max_concurrency: Requests that are worked on at one time by each worker; more are answered with 429.
        request_timeout: Seconds that a request may take.
        grace_period: Seconds that running requests have to finish after SIGTERM.
        workers: Processes that serve behind the ports.
        worker_index: Which of them this is, from 0.
        model_flags: Values of the flags that the model itself adds, by name.
    """

    model_name: str = ""
    model_dir: Path = Path("/mnt/models")
    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    enable_grpc: bool = True
    predictor_host: str = ""
    predictor_protocol: PredictorProtocol = "v2"
    predictor_timeout: float = 5.0
    max_body: int = 2_000_000
    max_rows: int = 10_000
    max_concurrency: int = 128
    request_timeout: float = 30.0
    grace_period: int = 20
    workers: int = 1
    worker_index: int = 0
    model_flags: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None, add_flags: AddFlags | None = None) -> Options:
        """Reads the command line; `BIND_HOST` and `MODEL_DIR` in the environment set defaults.

        Args:
            argv: The arguments; those of the process by default.
            add_flags: Adds flags of the model, with defaults.

        Raises:
            SystemExit: A flag is unknown or does not fit; the reason is on stderr.
        """
        parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        add = parser.add_argument
        add("--model_name", default=cls.model_name, help="name to answer under; default: the package's own")
        add("--model_dir", type=Path, default=Path(os.environ.get("MODEL_DIR", cls.model_dir)))
        add("--http_port", type=_port, default=cls.http_port)
        add("--grpc_port", type=_port, default=cls.grpc_port)
        add("--enable_grpc", type=_boolean, default=cls.enable_grpc)
        add("--workers", type=integer(1, _MOST_WORKERS), default=cls.workers, help="processes behind the ports")
        add("--predictor_host", default=cls.predictor_host, help="host:port of the predictor, for transformers")
        add("--predictor_protocol", choices=["v2", "grpc-v2"], default=cls.predictor_protocol)
        add("--predictor_request_timeout_seconds", type=positive_seconds, default=cls.predictor_timeout)
        add("--max_body", type=integer(1, _MOST_BYTES), default=cls.max_body, help="largest request body in bytes")
        add("--max_rows", type=positive_int, default=cls.max_rows)
        add("--max_concurrency", type=integer(1, _MOST_REQUESTS), default=cls.max_concurrency)
        add("--request_timeout", type=positive_seconds, default=cls.request_timeout, help="seconds")
        add("--grace_period", type=integer(0, 3600), default=cls.grace_period, help="seconds to finish after SIGTERM")
        own = {action.dest for action in parser._actions}
        if add_flags is not None:
            add_flags(parser.add_argument_group("the model"))
        flags = parser.parse_args(argv)
        return cls(
            host=os.environ.get("BIND_HOST", cls.host),
            predictor_timeout=flags.predictor_request_timeout_seconds,
            model_flags={name: value for name, value in vars(flags).items() if name not in own},
            worker_index=int(os.environ.get(WORKER_INDEX, "0")),
            **{
                name: value
                for name, value in vars(flags).items()
                if name in own - {"predictor_request_timeout_seconds"}
            },
        )


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text}: give true or false")
    return text.lower() == "true"

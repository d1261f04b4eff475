"""Sentiment on a small machine: the predictor over REST, on one thread, in an environment without kserve and gRPC."""

from __future__ import annotations

import argparse

from inference_services.sentiment import engine
from inference_services.sentiment.predictor import build


def add_flags(group: argparse._ArgumentGroup) -> None:
    """The predictor's flags; by default one call of the model at a time, on one thread."""
    engine.add_flags(group)
    group.set_defaults(slots=1, threads=1)


if __name__ == "__main__":
    from inference_services.serving.edge_server import serve

    serve(build, add_flags)

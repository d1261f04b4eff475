"""A known model server, LitServe, with the blueprint's own model and classifier; runs where `litserve` is installed.

    python -m benchmarks.sentiment.litserve_service FOLDER PORT WORKERS

One worker process a core with one thread each, which is the best of its settings for one model on processors alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from litserve import LitAPI, LitServer  # type: ignore[import-not-found]

from blueprints.model_package import open_package
from blueprints.sentiment.classifier import TextClassifier


class Sentiment(LitAPI):  # type: ignore[misc]
    """Classifies one text a request.

    Args:
        folder: The model package.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Loads the model, in the worker."""
        self.classifier = TextClassifier.open(open_package(self.folder))
        self.labels = self.classifier.config.labels

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    def predict(self, text: str) -> Any:
        """Its probabilities."""
        return self.classifier.classify([text])[0]

    def encode_response(self, probabilities: Any) -> dict[str, str | float]:
        """The likelier label."""
        code = int(probabilities.argmax())
        return {"label": self.labels[code], "probability": float(probabilities[code])}


def main() -> None:
    """Serves until it is ended."""
    folder, port, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    server = LitServer(Sentiment(folder), accelerator="cpu", workers_per_device=workers)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        pretty_logs=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

"""A known model server, LitServe, with the blueprint's own model and classifier; runs where `litserve` is installed.

    python -m benchmarks.sentiment.litserve_service FOLDER PORT WORKERS THREADS MAX_BATCH_SIZE BATCH_TIMEOUT

`benchmarks.sentiment.known_server` looks for the best of its settings.
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
        threads: Threads of the model, in each worker.
        max_batch_size: Requests in a batch at the most.
        batch_timeout: Seconds that a batch waits for more.
    """

    def __init__(self, folder: Path, threads: int, max_batch_size: int, batch_timeout: float) -> None:
        super().__init__(max_batch_size=max_batch_size, batch_timeout=batch_timeout)
        self.folder, self.threads = folder, threads

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Loads the model, in the worker."""
        self.classifier = TextClassifier.open(open_package(self.folder), threads=self.threads)
        self.labels = self.classifier.config.labels

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    def predict(self, texts: str | list[str]) -> Any:
        """The probabilities of a text, or of each of a batch."""
        return self.classifier.classify([texts])[0] if isinstance(texts, str) else self.classifier.classify(texts)

    def encode_response(self, probabilities: Any) -> dict[str, str | float]:
        """The likelier label."""
        code = int(probabilities.argmax())
        return {"label": self.labels[code], "probability": float(probabilities[code])}


def main() -> None:
    """Serves until it is ended."""
    port, workers, threads, max_batch_size = map(int, sys.argv[2:6])
    service = Sentiment(Path(sys.argv[1]), threads, max_batch_size, batch_timeout=float(sys.argv[6]))
    server = LitServer(service, accelerator="cpu", workers_per_device=workers)
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

"""Explainer of sentiment: which words speak for a text's label, as scored spans or as a page to read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kserve.metrics import EXPLAIN_HIST_TIME, get_labels

from blueprints.model_package import ModelPackage
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.explanation import Explanation, explain
from blueprints.sentiment.highlight import page
from blueprints.threads import available_cores
from inference_services.sentiment.schemas import Texts, add_text_flags
from inference_services.serving.errors import overloaded
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options

_HTML = "text/html"
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_TEXTS = 32
_NUMBER = {"type": "number"}
_EXPLANATION = {
    "allOf": [
        {"$ref": "#/components/schemas/Prediction"},
        {
            "type": "object",
            "required": ["model_version", "log_odds", "spans"],
            "properties": {
                "model_version": {"type": "string"},
                "log_odds": {**_NUMBER, "description": "Of the label against all others."},
                "spans": {
                    "type": "array",
                    "description": "Words in their order; in long texts, several words each.",
                    "items": {
                        "type": "object",
                        "required": ["start", "end", "text", "score"],
                        "properties": {
                            "start": {"type": "integer", "minimum": 0, "description": "First character (code point)."},
                            "end": {"type": "integer", "minimum": 1, "description": "Character after the last."},
                            "text": {"type": "string"},
                            "score": {**_NUMBER, "description": "Log-odds that the label loses without these words."},
                        },
                    },
                },
            },
        },
    ]
}


class SentimentExplainer(ServedModel):
    """Explains labels with the package's own model.

    Args:
        name: Name to answer under.
        package: The model package.
        options: The server's settings.
    """

    role = "explainer"
    platform = "onnxruntime-occlusion"

    def __init__(self, name: str, package: ModelPackage, options: Options) -> None:
        super().__init__(name)
        self.version = package.version
        self._classifier = TextClassifier.open(package)
        self._texts = Texts.of(package, self._classifier.config.labels, options, max_texts=_TEXTS)
        self.schemas = {**self._texts.schemas(), "Explanation": _EXPLANATION}
        # One thread a core, and as many requests again that wait for one: what waits longer is late anyway.
        self._threads = max(1, available_cores() // options.workers)
        self._executor = ThreadPoolExecutor(self._threads, "explain")
        self._requests = 0
        self._seconds = EXPLAIN_HIST_TIME.labels(**get_labels(name))

    async def shut_down(self) -> None:
        """Ends the threads."""
        self._executor.shutdown(cancel_futures=True)

    def operations(self) -> Sequence[Operation]:
        """KServe's v1 explain."""
        explanations = {"type": "array", "items": {"$ref": "#/components/schemas/Explanation"}}
        return [
            Operation(
                "POST",
                f"/v1/models/{self.name}:explain",
                self._explain,
                "Explain the labels of texts, word by word",
                "v1",
                {"type": "object", "required": ["explanations"], "properties": {"explanations": explanations}},
                request=self._texts.instances_request(),
                example={"instances": [self._texts.example]},
                media_types=(_HTML,),
            )
        ]

    async def _explain(self, call: Call) -> Reply:
        texts = self._texts.read_instances(call.json())
        with self._seconds.time():
            explanations = await self.explanations(texts, call.deadline)
        if call.accept.startswith(_HTML):
            title = f"{self.name}: what the words say"
            content = page(explanations, title=title, note=f"Model {self.version}.")
            headers = ((b"content-security-policy", _POLICY),)
            return Reply(content.encode(), media_type=b"text/html; charset=utf-8", headers=headers)
        return json_reply({"explanations": [self._answer(explanation) for explanation in explanations]})

    async def explanations(self, texts: Sequence[str], deadline: float) -> list[Explanation]:
        """Explains texts, one after the other in a thread; the work ends when nobody waits for it any more.

        Args:
            texts: Validated texts.
            deadline: When that is, in the event loop's time.

        Raises:
            RequestError: Enough requests wait already.
            TimeoutError: The deadline is over.
        """
        if self._requests >= 2 * self._threads:
            raise overloaded(f"{self._requests} requests for explanations are being worked on: try again")
        loop = asyncio.get_running_loop()
        unwanted = threading.Event()

        def check() -> None:
            if unwanted.is_set() or loop.time() > deadline:
                raise TimeoutError

        self._requests += 1
        work = loop.run_in_executor(
            self._executor, lambda: [explain(self._classifier, text, before_pass=check) for text in texts]
        )
        work.add_done_callback(self._done)
        try:
            return await asyncio.shield(work)
        finally:
            unwanted.set()

    def _done(self, work: asyncio.Future[list[Explanation]]) -> None:
        self._requests -= 1
        if not work.cancelled():
            work.exception()  # seen, also when nobody waits for it any more

    def _answer(self, explanation: Explanation) -> dict[str, Any]:
        return {
            **self._texts.prediction(explanation.probabilities),
            "model_version": self.version,
            "log_odds": explanation.log_odds,
            "spans": explanation.spans,
        }


def build(package: ModelPackage, options: Options) -> SentimentExplainer:
    """The explainer of a model package."""
    return SentimentExplainer(options.model_name or package.signature.model_name, package, options)


if __name__ == "__main__":
    from inference_services.serving.server import serve

    serve(build, add_text_flags)

"""What predictor and transformer share: the operations on texts, their answers, and the count of what was said."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.sentiment.text_model import LABEL
from inference_services.sentiment.schemas import Texts
from inference_services.serving.metrics import PredictionHistogram
from inference_services.serving.model import Call, Operation, Reply, ServedModel, json_reply
from inference_services.serving.options import Options
from inference_services.serving.tensors import TensorSpec

PROBABILITIES = "probabilities"


class TextService(ServedModel):
    """A model that labels texts.

    Args:
        name: Name to answer under.
        package: The model package.
        labels: Labels of the model, in the order of its probabilities.
        options: The server's settings.
    """

    predictions: PredictionHistogram

    def __init__(self, name: str, package: ModelPackage, labels: Sequence[str], options: Options) -> None:
        super().__init__(name)
        self.version = package.version
        self.labels = tuple(labels)
        self.texts = Texts.of(package, labels, options)
        self.schemas = self.texts.schemas()
        self.outputs: Sequence[TensorSpec] = [
            TensorSpec(LABEL, "BYTES"),
            TensorSpec(PROBABILITIES, "FP64", (-1, len(self.labels))),
        ]
        self.predictions = PredictionHistogram(package.signature.outputs, package.version)

    @abstractmethod
    async def probabilities(self, texts: Sequence[str], request_id: str, deadline: float) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (texts, labels).

        Args:
            texts: One or more.
            request_id: Id of the request.
            deadline: Time of the event loop after which nobody waits for the answer.

        Raises:
            RequestError: There cannot be an answer now.
        """

    def operations(self) -> Sequence[Operation]:
        """The typed `/predict` and KServe's v1 predict."""
        return self.texts.operations(self.name, self._typed, self._v1)

    def labelled(self, probabilities: NDArray[np.float64]) -> list[str]:
        """The most probable label of each text; counts them and their probabilities."""
        codes = probabilities.argmax(axis=1)
        self.predictions.observe(LABEL, codes)
        for position, label in enumerate(self.labels):
            self.predictions.observe(f"probability_{label}", probabilities[:, position])
        return [self.labels[code] for code in codes]

    async def _typed(self, call: Call) -> Reply:
        texts, single = self.texts.read_typed(call.json())
        return await self._answer(texts, call, single=single)

    async def _v1(self, call: Call) -> Reply:
        return await self._answer(self.texts.read_instances(call.json()), call, single=False)

    async def _answer(self, texts: Sequence[str], call: Call, *, single: bool) -> Reply:
        probabilities = await self.probabilities(texts, call.request_id, call.deadline)
        self.labelled(probabilities)
        return json_reply(self.texts.typed_answer(probabilities, single=single))

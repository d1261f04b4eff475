"""The predictor behind a transformer: connected for as long as the server runs, with KServe's timers of both steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kserve.metrics import POST_HIST_TIME, PRE_HIST_TIME, get_labels
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from inference_services.serving.errors import unavailable
from inference_services.serving.options import Options
from inference_services.serving.predictor_client import PredictorClient, connect


class Upstream:
    """A transformer's predictor, of the same name and version.

    Args:
        name: Name of the model.
        package: The model package; its version is the only one that may answer.
        options: The predictor's host, its protocol and time-out.

    Attributes:
        preprocessing: Times what is done before the predictor is asked.
        postprocessing: Times what is done with its answer.

    Raises:
        SystemExit: The options name no predictor.
    """

    def __init__(self, name: str, package: ModelPackage, options: Options) -> None:
        if not options.predictor_host:
            raise SystemExit("a transformer needs --predictor_host host:port")
        self._name, self._version, self._options = name, package.version, options
        self._client: PredictorClient | None = None
        self.preprocessing = PRE_HIST_TIME.labels(**get_labels(name))
        self.postprocessing = POST_HIST_TIME.labels(**get_labels(name))

    async def open(self) -> None:
        """Makes the client, which needs the event loop."""
        self._client = connect(self._options, self._name, self._version)

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()

    async def ready(self) -> bool:
        """See `PredictorClient.ready`."""
        return self._client is not None and await self._client.ready()

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], request_id: str, deadline: float = math.inf
    ) -> dict[str, NDArray[Any]]:
        """See `PredictorClient.infer`."""
        if self._client is None:
            raise unavailable("the transformer is starting")
        return await self._client.infer(inputs, outputs, request_id, deadline)

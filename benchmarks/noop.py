"""Do-nothing model servers on KServe's own SDK: the ceiling that real servers are held against.

python -m benchmarks.noop predictor --http_port 9000
python -m benchmarks.noop transformer --http_port 9001 --predictor_host 127.0.0.1:9000 --predictor_protocol v2
"""

from __future__ import annotations

import sys
from typing import Any

from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve import model_server as kserve_model_server
from kserve.protocol.rest.server import RESTServer

NAME = "noop"
ROWS = {"name": "probability_of_default", "datatype": "FP64"}


class LoopbackServer(RESTServer):  # type: ignore[misc]
    """KServe's server, bound to loopback instead of every interface."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.config.host = "127.0.0.1"


class NoopPredictor(Model):  # type: ignore[misc]
    """Answers every row with zero."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        """One zero a row."""
        rows = payload.inputs[0].shape[0]
        output = InferOutput(name=ROWS["name"], shape=[rows], datatype=ROWS["datatype"], data=[0.0] * rows)
        return InferResponse(response_id=payload.id or "noop", model_name=NAME, infer_outputs=[output])


class NoopTransformer(Model):  # type: ignore[misc]
    """Sends one tensor a field to the predictor and gives its answer back."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.ready = True

    async def preprocess(self, payload: dict[str, Any], *_: Any, **__: Any) -> InferRequest:
        """Instances to tensors, without a look at them."""
        instances = payload["instances"]
        tensors = [
            InferInput(name=field, shape=[len(instances)], datatype="FP32", data=[0.0] * len(instances))
            for field in instances[0]
        ]
        return InferRequest(model_name=NAME, infer_inputs=tensors)

    async def postprocess(self, result: InferResponse, *_: Any, **__: Any) -> dict[str, Any]:
        """The predictor's numbers."""
        return {"predictions": result.outputs[0].data}


def main() -> None:
    """Serves the part that the first argument names, until it is ended."""
    kserve_model_server.RESTServer = LoopbackServer
    part = NoopTransformer() if sys.argv[1] == "transformer" else NoopPredictor()
    ModelServer(enable_grpc=False, enable_latency_logging=False).start([part])


if __name__ == "__main__":
    main()

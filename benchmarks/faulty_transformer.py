"""The credit-risk transformer with a fault, for candidates that a rollout must turn back.

`FAULT_ERROR_SHARE` of its decisions fail with 500; every decision takes `FAULT_SLOWDOWN` times as long as it would.

python -m benchmarks.faulty_transformer --model_dir ... (flags as for inference_services.credit_risk.transformer)
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any

from blueprints.credit_risk.application import Value
from blueprints.model_package import ModelPackage
from inference_services.credit_risk.transformer import CreditTransformer, build
from inference_services.serving.options import Options
from inference_services.serving.server import serve


class FaultyTransformer(CreditTransformer):
    """Fails and dawdles as its environment says."""

    async def _decide(self, applications: list[dict[str, Value]], request_id: str, id_loc: Any) -> list[dict[str, Any]]:
        begun = time.perf_counter()
        decisions = await super()._decide(applications, request_id, id_loc)
        await asyncio.sleep((time.perf_counter() - begun) * (float(os.environ.get("FAULT_SLOWDOWN", "1")) - 1))
        if random.random() < float(os.environ.get("FAULT_ERROR_SHARE", "0")):  # noqa: S311
            raise RuntimeError("a fault of this candidate")
        return decisions


def build_faulty(package: ModelPackage, options: Options) -> CreditTransformer:
    """The transformer of a model package, with the fault."""
    transformer = build(package, options)
    transformer.__class__ = FaultyTransformer
    return transformer


if __name__ == "__main__":
    serve(build_faulty)

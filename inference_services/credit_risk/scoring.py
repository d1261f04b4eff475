"""The scorecard on the event loop: concurrent requests share calls of the booster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from blueprints.credit_risk.scorer import CreditScorer, Explained
from inference_services.serving.batching import Batcher


class BatchedScorer:
    """Margins and SHAP values for many requests at once.

    Args:
        scorer: The scorecard.
    """

    def __init__(self, scorer: CreditScorer) -> None:
        self.calibration = scorer.policy.calibration
        executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="score")

        def explain(features: NDArray[np.float32]) -> NDArray[np.floating]:
            return np.column_stack(scorer.explain(features))

        self._margins = Batcher(scorer.margins, executor=executor)
        self._explain = Batcher(explain, executor=executor, max_rows=256, inline_rows=4)

    async def margins(self, features: NDArray[np.float32]) -> NDArray[np.floating]:
        """Log-odds of default, shape (n,)."""
        return await self._margins(features)

    async def explain(self, features: NDArray[np.float32]) -> Explained:
        """Margins with their exact SHAP values."""
        explained = await self._explain(features)
        return Explained(explained[:, 0], explained[:, 1:-1], explained[:, -1])

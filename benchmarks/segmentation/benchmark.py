"""The figures of the segmentation blueprint: scikit-learn and pandas, the blueprint, do-nothing servers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.segmentation.agreement import agreement_figures
from benchmarks.segmentation.choosing import choosing_figures
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.online import online_figures
from benchmarks.segmentation.rfm import rfm_figures
from benchmarks.segmentation.scoring import scoring_figures
from benchmarks.segmentation.stability import stability_figures

Progress = Callable[[str], None]


def measure(progress: Progress, effort: Effort | None = None) -> dict[str, Figure]:
    """Measures everything; about twenty minutes on two cores.

    Args:
        progress: Told what is measured next.
        effort: How much is measured.
    """
    effort = effort or Effort()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        figures = choosing_figures(effort, scratch, progress)
        figures |= agreement_figures(effort, progress)
        figures |= rfm_figures(effort, scratch, progress)
        figures |= scoring_figures(effort, scratch, progress)
        figures |= online_figures(effort, scratch, progress)
        figures |= stability_figures(scratch, progress)
    return figures

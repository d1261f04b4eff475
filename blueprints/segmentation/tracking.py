"""The segments of the last run, and what is kept of a run: every number of segments that was tried, with its plots."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from blueprints.governance.registry import CHAMPION, Registry
from blueprints.segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from blueprints.segmentation.training import Trained


def champion_segmenter(registered_model: str, tracking_uri: str = "") -> Segmenter | None:
    """The champion; None on a first run.

    Raises:
        PackageError: What the registry holds is no segmentation.
    """
    registry = Registry(tracking_uri or None)
    if registry.by_alias(registered_model, CHAMPION) is None:
        return None
    return Segmenter.from_package(registry.champion(registered_model))


def log_choice(registered_model: str, run_date: str, trained: Trained, tracking_uri: str = "") -> str:
    """Logs every number of segments to MLflow, its figures as those of one step, and the plots.

    Returns:
        MLflow's id of the run.
    """
    metrics = {}
    for one in trained.choice.candidates:
        metrics[one.k] = {
            "silhouette": one.silhouette.value,
            "calinski_harabasz": one.calinski_harabasz,
            "davies_bouldin": one.davies_bouldin,
            "inertia": one.inertia,
            **({"stability": one.stability.value} if one.stability else {}),
        }
    return Registry(tracking_uri or None).log_run(
        f"{registered_model}-choice-{run_date}",
        metrics,
        {f"plots/{name}.png": _png(plot) for name, plot in trained.plots.items()},
        parameters={
            "segments": trained.choice.k,
            "run_date": run_date,
            "method": trained.choice.method,
            "rows": trained.choice.rows,
        },
    )


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()

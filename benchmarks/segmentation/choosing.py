"""Choosing K: the plain loop over scikit-learn beside `choose_k`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, figure
from benchmarks.segmentation.data import Mixture
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.processes import Found, answer, call, peak_mb

Progress = Callable[[str], None]

KS = range(2, 11)
FEATURES, CLUSTERS, APART, SEED = 8, 6, 2.0, 1
_SAMPLED_ROWS = 10_000
# Sampled silhouettes are held against the exact ones up to so many rows.
_CHECKED_ROWS = 100_000
_ROUNDING = 1e-6
_WHAT = "K = 2 to 10"


def choosing_figures(effort: Effort, scratch: Path, progress: Progress) -> dict[str, Figure]:
    """Time, memory and answers of choosing K."""
    labels = scratch / "labels.npy"
    rows = effort.choose_rows

    def runs(method: str, *, bootstraps: int = 0, rows: int = rows, repeats: int = effort.repeats) -> list[Found]:
        progress(f"choosing K of {rows:,} rows, {method}, {bootstraps} bootstraps")
        return [
            call("choosing", "ours", rows=rows, method=method, bootstraps=bootstraps, seed=seed)
            for seed in range(repeats)
        ]

    exact, sampled = runs("exact"), runs("sampled")
    exact_stable, sampled_stable = runs("exact", bootstraps=10, repeats=1), runs("sampled", bootstraps=10, repeats=1)
    large = runs("sampled", rows=effort.large_rows)
    progress(f"the usual way for {effort.large_rows:,} rows")
    usual = call("choosing", "usual_large", rows=effort.large_rows)
    progress(f"intervals of {effort.coverages} samples")
    coverage = call("choosing", "coverage", rows=rows, samples=effort.coverages)
    progress(f"the plain loop over {rows:,} rows; takes minutes")
    loop = call("choosing", "plain_loop", rows=rows, labels=labels)
    checked = call("choosing", "silhouettes_of", rows=rows, labels=labels)
    return (
        exact_figures(rows, loop, exact, exact_stable[0], checked)
        | sampled_figures(rows, loop, sampled, sampled_stable[0], coverage)
        | large_figures(effort.large_rows, large, usual)
    )


def exact_figures(
    rows: int, loop: Found, exact: Sequence[Found], with_stability: Found, checked: Found
) -> dict[str, Figure]:
    """What the exact choice is worth beside the plain loop."""
    seconds = _seconds(exact)
    ratios = [a / b for one in exact for a, b in zip(one["inertias"], loop["inertias"], strict=True)]
    errors = np.abs(np.subtract(checked["silhouettes"], loop["silhouettes"]))
    what = f"{rows:,} x {FEATURES}, {_WHAT}"
    return {
        "choose_k_exact_speedup": figure(
            loop["seconds"] / seconds,
            "ratio",
            f"{what}, exact silhouettes of all rows: choose_k without bootstraps against KMeans(n_init=10) and "
            f"silhouette_score per K with default threads; compilation included, median of {len(exact)} processes; the "
            f"loop once. Chosen: {_chosen(exact)}, by the loop {loop['k']}",
            baseline=1.0,
            ratio=loop["seconds"] / seconds,
        ),
        "choose_k_exact_s": figure(
            seconds,
            "s",
            "the first side of choose_k_exact_speedup",
            baseline=loop["seconds"],
            ratio=seconds / loop["seconds"],
        ),
        "choose_k_exact_speedup_with_stability": figure(
            loop["seconds"] / with_stability["seconds"],
            "ratio",
            "the same with the stability over 10 bootstraps, which the loop does not have; once",
            baseline=1.0,
            ratio=loop["seconds"] / with_stability["seconds"],
        ),
        "choose_k_exact_peak_mb": figure(
            max(one["peak_mb"] for one in exact),
            "MB",
            "most resident memory of the process; baseline: of the loop's",
            baseline=loop["peak_mb"],
        ),
        "choose_k_exact_max_abs_diff": figure(
            float(errors.max()),
            "silhouette",
            "largest difference of our exact silhouettes to silhouette_score, on the loop's own clusters",
        ),
        "choose_k_inertia_ratio": figure(
            max(ratios),
            "ratio",
            f"inertia over that of KMeans(n_init=10), the worst of all K in {len(exact)} runs; up to 1 is as good",
            baseline=1.0,
            ratio=max(ratios),
        ),
    }


def sampled_figures(
    rows: int, loop: Found, sampled: Sequence[Found], with_stability: Found, coverage: Found
) -> dict[str, Figure]:
    """What the sampled choice is worth beside the plain loop, and whether its intervals hold."""
    seconds = _seconds(sampled)
    inside = [holds(low, exact, high) for one in sampled for (_, low, high), exact in _with_exact(one)]
    errors = [abs(value - exact) for one in sampled for (value, _, _), exact in _with_exact(one)]
    widths = [(high - low) / 2 for one in sampled for _, low, high in one["silhouettes"]]
    return {
        "choose_k_sampled_speedup": figure(
            loop["seconds"] / seconds,
            "ratio",
            f"{rows:,} x {FEATURES}, {_WHAT}, silhouettes of a stratified sample with 95 % intervals, half as wide as "
            f"{statistics.median(widths):.4f}, without bootstraps, against the plain loop of choose_k_exact_speedup; "
            f"compilation included, median of {len(sampled)} processes. Chosen: {_chosen(sampled)}, by the loop "
            f"{loop['k']}",
            baseline=1.0,
            ratio=loop["seconds"] / seconds,
        ),
        "choose_k_sampled_s": figure(
            seconds,
            "s",
            "the first side of choose_k_sampled_speedup",
            baseline=loop["seconds"],
            ratio=seconds / loop["seconds"],
        ),
        "choose_k_sampled_speedup_with_stability": figure(
            loop["seconds"] / with_stability["seconds"],
            "ratio",
            "the same with the stability over 10 bootstraps, which the loop does not have; once",
            baseline=1.0,
            ratio=loop["seconds"] / with_stability["seconds"],
        ),
        "choose_k_sampled_inside": figure(
            statistics.mean(inside),
            "fraction",
            f"share of the {len(inside)} intervals of choose_k_sampled_speedup (every K of every run) that hold the "
            "exact silhouette of the same clusters; baseline: what a 95 % interval promises",
            baseline=0.95,
        ),
        "choose_k_sampled_max_abs_error": figure(
            max(errors), "silhouette", "largest difference of a sampled silhouette to the exact one in these runs"
        ),
        "choose_k_sampled_coverage": figure(
            coverage["inside"] / coverage["intervals"],
            "fraction",
            f"the same over {coverage['intervals']} intervals of first samples, each with a seed of its own",
            baseline=0.95,
        ),
    }


def large_figures(rows: int, large: Sequence[Found], usual: Found) -> dict[str, Figure]:
    """Time and memory for many rows."""
    seconds = _seconds(large)
    return {
        "choose_k_1m_s": figure(
            seconds,
            "s",
            f"{rows:,} x {FEATURES}, {_WHAT}, sampled silhouettes with intervals, compilation included, median of "
            f"{len(large)} processes; baseline: KMeans (one start) and silhouette_score(sample_size="
            f"{_SAMPLED_ROWS:,}) per K, which has no interval. Chosen: {_chosen(large)}, by the baseline {usual['k']}",
            baseline=usual["seconds"],
            ratio=seconds / usual["seconds"],
        ),
        "choose_k_1m_peak_mb": figure(
            max(one["peak_mb"] for one in large),
            "MB",
            "most resident memory of these processes, libraries and the given rows in single precision included; "
            "baseline: of the other one",
            baseline=usual["peak_mb"],
            ratio=max(one["peak_mb"] for one in large) / usual["peak_mb"],
        ),
    }


def ours(rows: int, method: str, bootstraps: int, seed: int) -> Found:
    """One call of `choose_k`; the libraries are imported before the clock runs, as the loop's are."""
    import numba  # noqa: F401
    import scipy.special  # noqa: F401
    import sklearn.cluster
    import sklearn.metrics  # noqa: F401

    from blueprints.segmentation.choose_k import choose_k
    from blueprints.segmentation.silhouette import exact_silhouettes

    points = _points(rows)
    begun = time.perf_counter()
    choice = choose_k(points, KS, method=method, bootstraps=bootstraps, seed=seed)  # type: ignore[arg-type]
    seconds, peak = time.perf_counter() - begun, peak_mb()
    candidates = choice.report.candidates
    found = {
        "seconds": seconds,
        "peak_mb": peak,
        "k": choice.k,
        "inertias": [one.inertia for one in candidates],
        "silhouettes": [(one.silhouette.value, one.silhouette.low, one.silhouette.high) for one in candidates],
    }
    if method == "sampled" and rows <= _CHECKED_ROWS:
        labels = np.stack([clustering.labels for clustering in choice.clusterings])
        found["exact"] = exact_silhouettes(points, labels).tolist()
    return found


def plain_loop(rows: int, labels: str) -> Found:
    """What everybody writes, with the labels for later."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    points = _points(rows)
    models, silhouettes = [], []
    begun = time.perf_counter()
    for k in KS:
        models.append(KMeans(k, n_init=10, random_state=0).fit(points))
        silhouettes.append(float(silhouette_score(points, models[-1].labels_)))
    seconds = time.perf_counter() - begun
    np.save(labels, np.stack([model.labels_ for model in models]))
    return {
        "seconds": seconds,
        "k": KS[int(np.argmax(silhouettes))],
        "inertias": [float(model.inertia_) for model in models],
        "silhouettes": silhouettes,
    }


def silhouettes_of(rows: int, labels: str) -> Found:
    """Our exact silhouettes of clusters from elsewhere."""
    from blueprints.segmentation.silhouette import exact_silhouettes

    return {"silhouettes": exact_silhouettes(_points(rows), np.load(labels)).tolist()}


def usual_large(rows: int) -> Found:
    """What people write where the loop would take hours."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    points = _points(rows)
    silhouettes = []
    begun = time.perf_counter()
    for k in KS:
        labels = KMeans(k, random_state=0).fit_predict(points)
        size = min(_SAMPLED_ROWS, rows)
        silhouettes.append(silhouette_score(points, labels, sample_size=size, random_state=0))
    return {"seconds": time.perf_counter() - begun, "k": KS[int(np.argmax(silhouettes))]}


def coverage(rows: int, samples: int) -> Found:
    """How many intervals of first samples hold the exact silhouette."""
    from blueprints.segmentation.clustering import fit_kmeans
    from blueprints.segmentation.silhouette import exact_silhouettes, sampled_silhouettes

    points = _points(rows).astype(np.float32, copy=False)
    labels = np.stack([clustering.labels for clustering in fit_kmeans(points, KS)])
    exact = exact_silhouettes(points, labels).tolist()
    inside = [
        holds(estimate.low, value, estimate.high)
        for seed in range(samples)
        for estimate, value in zip(sampled_silhouettes(points, labels, seed=seed), exact, strict=True)
    ]
    return {"inside": sum(inside), "intervals": len(inside)}


def holds(low: float, value: float, high: float) -> bool:
    """Whether an interval holds a value, up to rounding: a sample of all rows has an interval without width."""
    return low - _ROUNDING <= value <= high + _ROUNDING


def _points(rows: int) -> NDArray[np.floating]:
    """The rows, the same for both sides: many are held in single precision, as whoever has many holds them."""
    points = Mixture(rows, FEATURES, CLUSTERS, APART, seed=SEED).points()
    return points if rows <= _CHECKED_ROWS else points.astype(np.float32)


def _seconds(found: Sequence[Found]) -> float:
    return statistics.median(float(one["seconds"]) for one in found)


def _chosen(found: Sequence[Found]) -> str:
    return ", ".join(map(str, sorted({one["k"] for one in found})))


def _with_exact(found: Found) -> list[tuple[tuple[float, float, float], float]]:
    return list(zip(found["silhouettes"], found["exact"], strict=True))


if __name__ == "__main__":
    answer(
        {
            "ours": ours,
            "plain_loop": plain_loop,
            "silhouettes_of": silhouettes_of,
            "usual_large": usual_large,
            "coverage": coverage,
        }
    )

"""Whether K comes out as the plain loop's on many data sets of different kinds."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, figure
from benchmarks.segmentation.choosing import KS
from benchmarks.segmentation.data import varied
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.processes import Found, answer, call

Progress = Callable[[str], None]

MARGIN = 0.01
"""Lead of the best silhouette over the second best above which K is clear."""


def agreement_figures(effort: Effort, progress: Progress) -> dict[str, Figure]:
    """The choice of K beside the plain loop's."""
    progress(f"K of {effort.sets} data sets; takes minutes")
    processes = len(os.sched_getaffinity(0))
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with ThreadPoolExecutor(processes) as pool:
        parts = pool.map(
            lambda part: call("agreement", "compare", environment=one_thread, numbers=part),
            [list(range(first, effort.sets, processes)) for first in range(min(processes, effort.sets))],
        )
        return figures([one for part in parts for one in part["sets"]])


def figures(sets: Sequence[Found]) -> dict[str, Figure]:
    """What the data sets say."""
    clear = [one for one in sets if one["margin"] > MARGIN]
    other = [one for one in clear if one["ours"] != one["k"]]
    better = sum(one["gain"] > 0 for one in other)
    what = (
        f"{len(sets)} data sets of {min(one['rows'] for one in sets):,} to {max(one['rows'] for one in sets):,} rows, "
        "2 to 10 features, 2 to 9 clusters that differ in size, width, overlap and tails"
    )
    clear_ones = f"those {len(clear)} whose best exact silhouette leads by more than {MARGIN}"

    def share(name: str, among: Sequence[Found]) -> float:
        return statistics.mean(one[name] == one["k"] for one in among) if among else float("nan")

    return {
        "k_agreement": figure(
            share("ours", clear),
            "fraction",
            f"share of {what} where choose_k with its defaults (exact at these sizes) finds the K that "
            f"KMeans(n_init=10) and silhouette_score find, among {clear_ones}; where they differ ({len(other)} times), "
            f"choose_k's has the higher exact silhouette {better} times; baseline: how often those agree with "
            "themselves under another seed",
            baseline=share("again", clear),
        ),
        "k_agreement_sampled": figure(
            share("sampled", clear),
            "fraction",
            "the same with silhouettes of a sample that grows until the best K is told from the others",
            baseline=share("again", clear),
        ),
        "k_agreement_all": figure(
            share("ours", sets),
            "fraction",
            f"share of all {len(sets)} data sets, however close the silhouettes are; baseline as before",
            baseline=share("again", sets),
        ),
        "k_self_agreement": figure(
            share("again", clear), "fraction", f"the baseline with seed 0 beside itself with seed 1, among {clear_ones}"
        ),
        "k_clear_sets": figure(len(clear), "data sets", clear_ones),
    }


def compare(numbers: list[int]) -> Found:
    """The best K of data sets by the plain loop, under two seeds, and by `choose_k`."""
    from blueprints.segmentation.choose_k import choose_k

    sets = []
    for number in numbers:
        mixture = varied(number)
        points = mixture.points()
        first, second = (_plain_silhouettes(points, seed) for seed in (0, 1))
        runner_up, best = np.sort(first)[-2:]
        choice = choose_k(points, KS, bootstraps=0, seed=number)
        sets.append(
            {
                "number": number,
                "rows": mixture.rows,
                "margin": float(best - runner_up),
                "k": KS[int(np.argmax(first))],
                "again": KS[int(np.argmax(second))],
                "ours": choice.k,
                "gain": choice.report.candidate(choice.k).silhouette.value - float(best),
                "sampled": choose_k(points, KS, method="sampled", bootstraps=0, seed=number).k,
            }
        )
    return {"sets": sets}


def _plain_silhouettes(points: NDArray[np.float64], seed: int) -> list[float]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    return [float(silhouette_score(points, KMeans(k, n_init=10, random_state=seed).fit_predict(points))) for k in KS]


if __name__ == "__main__":
    answer({"compare": compare})

"""The figures of the credit-risk blueprint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import load
from benchmarks.cluster import blueprints, laptop_cluster
from benchmarks.figures import Figure, figure
from benchmarks.packages import write_package
from benchmarks.servers import running
from blueprints.workspace import Workspace

if TYPE_CHECKING:
    from blueprints.datasets import Split
    from blueprints.model_package import ModelPackage

Progress = Callable[[str], None]

SEED = 7
VALIDATION_SHARE = 0.15


def measure(progress: Progress) -> dict[str, Figure]:
    """Measures everything; takes a few minutes.

    Args:
        progress: Told what is measured next.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        progress("training on five splits of the Taiwan data")
        figures, package, split = _quality(scratch, progress)
        progress("explaining single applications")
        figures |= _explanations(package, split)
        progress("starting the service and the do-nothing servers")
        figures |= _serving(package, scratch, progress)
    return figures


def _quality(scratch: Path, progress: Progress) -> tuple[dict[str, Figure], ModelPackage, Split]:
    from sklearn.metrics import roc_auc_score

    from blueprints import datasets
    from blueprints.credit_risk.baselines import baseline_scores
    from blueprints.credit_risk.training import TrainingConfig, train

    dataset = datasets.get("taiwan")
    frame, schema = dataset.load(), dataset.schema
    aucs, margins, kept = [], [], None
    for seed in range(SEED, SEED + 5):
        split = datasets.split(frame, schema, validation_share=VALIDATION_SHARE, seed=seed)
        model = train(split.train, split.validation, schema, TrainingConfig(seed=seed))
        target = split.test[schema.target].to_numpy()
        auc = float(roc_auc_score(target, model.margins(split.test)))
        best = max(
            float(roc_auc_score(target, scores))
            for scores in baseline_scores(split.train, split.test, schema, seed=seed).values()
        )
        aucs.append(auc)
        margins.append(auc - best)
        progress(f"split {seed}: ROC-AUC {auc:.4f}, best baseline {best:.4f}")
        if kept is None:
            kept = split, model
    assert kept is not None  # noqa: S101
    package = write_package(scratch / "package", "taiwan", *kept, schema)
    figures = {
        "auc_taiwan": figure(
            aucs[0],
            "fraction",
            f"held-out 20 % of the Taiwan data, seed {SEED}, pipeline defaults; baseline: the better of "
            "logistic-regression scorecard and LightGBM on the same rows",
            baseline=aucs[0] - margins[0],
            ratio=aucs[0] / (aucs[0] - margins[0]),
        ),
        "auc_taiwan_median_of_5": figure(
            statistics.median(aucs),
            "fraction",
            f"median over the splits of seeds {SEED} to {SEED + 4}; baseline: the same of the best baseline",
            baseline=statistics.median([auc - margin for auc, margin in zip(aucs, margins, strict=True)]),
        ),
        "auc_margin_least_of_5": figure(
            min(margins), "fraction", "least lead over the better baseline on any of the five splits"
        ),
    }
    return figures, package, kept[0]


def _explanations(package: ModelPackage, split: Split) -> dict[str, Figure]:
    import numpy as np
    import pandas as pd
    import shap

    from blueprints.credit_risk.application import encode_applications, encode_frame
    from blueprints.credit_risk.scorer import CreditScorer
    from inference_services.credit_risk.explainer import CreditExplainer

    scorer = CreditScorer(package)
    explainer = CreditExplainer("credit-risk", package, max_rows=10)
    applications = _applications(package, 60)
    names = [column.name for column in scorer.columns]
    features = encode_frame(split.test.iloc[:300], scorer.columns)

    def ours(row: int) -> None:
        loop.run(explainer.explanations([applications[row]], with_plot=False))

    def theirs(row: int) -> None:
        frame = pd.DataFrame(encode_applications([applications[row]], scorer.columns), columns=names)
        shap.TreeExplainer(scorer.booster).shap_values(frame)

    with asyncio.Runner() as loop:
        fast, slow = _paired_seconds(ours, theirs, len(applications))
    _, contributions, base_values = scorer.explain(features)
    reference = shap.TreeExplainer(scorer.booster)
    values = reference.shap_values(pd.DataFrame(features, columns=names))
    difference = float(np.abs(values - contributions).max())
    base_difference = float(np.abs(np.ravel(reference.expected_value)[0] - base_values).max())
    return {
        "explain_speedup": figure(
            slow / fast,
            "ratio",
            "all that the served explainer computes for one application (encoding, probability, contributions, "
            "reasons) against shap.TreeExplainer(model) + shap_values(DataFrame) per request; same process, same "
            "model, ten and ten in turns, medians",
            baseline=1.0,
            ratio=slow / fast,
        ),
        "explain_s": figure(fast, "s", "the first side of explain_speedup", baseline=slow, ratio=fast / slow),
        "explain_max_abs_diff": figure(
            max(difference, base_difference),
            "log-odds",
            "largest difference of any contribution or base value to shap.TreeExplainer over 300 held-out applications",
        ),
    }


def _serving(package: ModelPackage, scratch: Path, progress: Progress) -> dict[str, Figure]:
    startups: list[float] = []
    for _ in range(3):
        workspace = Workspace(scratch / f"home-{len(startups)}")
        champion = workspace.volumes / "models" / "credit-risk" / "champion"
        champion.parent.mkdir(parents=True)
        shutil.copytree(package.folder, champion)
        begun = time.monotonic()
        with laptop_cluster(workspace):
            blueprints(workspace, "deploy", "credit-risk")
            startups.append(time.monotonic() - begun)
            if len(startups) == 3:
                pods = json.loads(blueprints(workspace, "status", "credit-risk", "--json"))["pods"]
                # Each part at its own address: what is measured is the servers, not the gateway.
                urls = {
                    part: next(f"http://{pod['address']}:8080" for pod in pods if f"-{part}-" in pod["name"])
                    for part in ("predictor", "transformer")
                }
                figures = _load(package, urls, scratch, progress)
    figures["startup_s"] = figure(
        statistics.median(startups),
        "s",
        "from nothing to three ready parts (cluster up, deploy, transformer, predictor and explainer ready); median of "
        "three starts",
    )
    return figures


def _load(package: ModelPackage, urls: dict[str, str], scratch: Path, progress: Progress) -> dict[str, Figure]:
    application = _applications(package, 1)[0]
    tensors, applications = scratch / "tensors.json", scratch / "applications.json"
    tensors.write_text(json.dumps(_infer_request(package, application)))
    applications.write_text(json.dumps({"instances": [application]}))
    with _noop_servers() as (noop_predictor, noop_transformer):
        progress("v2 REST at 16 clients, real predictor and do-nothing model in turns")
        sides = (f"{urls['predictor']}/v2/models/credit-risk/infer", f"{noop_predictor}/v2/models/noop/infer")
        rates = _alternate(sides, tensors, clients=16, seconds=3, rounds=5)
        progress("transformer to predictor with one client, real chain and do-nothing chain in turns")
        sides = (f"{urls['transformer']}/v1/models/credit-risk:predict", f"{noop_transformer}/v1/models/noop:predict")
        chains = _alternate(sides, applications, clients=1, seconds=3, rounds=5)
    ours, theirs = (statistics.median([run.rate for run in runs]) for runs in rates)
    p99, noop_p99 = (statistics.median([run.percentile(0.99) for run in runs]) * 1000 for runs in chains)
    p50, noop_p50 = (statistics.median([run.percentile(0.5) for run in runs]) * 1000 for runs in chains)
    return {
        "predictor_vs_noop": figure(
            ours / theirs,
            "ratio",
            "v2 REST requests/s of the predictor over those of a do-nothing model on KServe's SDK, one application a "
            "request, 16 clients in a second process, in turns, median of pairs",
            baseline=1.0,
            ratio=statistics.median([a.rate / b.rate for a, b in zip(*rates, strict=True)]),
        ),
        "predictor_rate": figure(ours, "requests/s", "the first side of predictor_vs_noop", baseline=theirs),
        "decision_p99_ms": figure(
            p99,
            "ms",
            "one application through transformer, predictor and decision record, one client; baseline: a do-nothing "
            "transformer and predictor on KServe's SDK over REST v2, in turns; medians of five runs",
            baseline=noop_p99,
            ratio=statistics.median([a.percentile(0.99) / b.percentile(0.99) for a, b in zip(*chains, strict=True)]),
        ),
        "decision_p50_ms": figure(
            p50, "ms", "the median of the same requests", baseline=noop_p50, ratio=p50 / noop_p50
        ),
    }


def _alternate(
    urls: tuple[str, str], body: Path, *, clients: int, seconds: float, rounds: int
) -> tuple[list[load.Load], list[load.Load]]:
    runs: tuple[list[load.Load], list[load.Load]] = ([], [])
    for _ in range(rounds):
        for url, kept in zip(urls, runs, strict=True):
            kept.append(load.run(load.Plan(url, body, seconds, clients=clients)))
            if kept[-1].failures():
                raise RuntimeError(f"{url}: requests failed; their number by status: {kept[-1].statuses}")
    return runs


@contextlib.contextmanager
def _noop_servers() -> Iterator[tuple[str, str]]:
    from localcluster.ports import free_ports

    ports = free_ports(2)
    chained = [f"--predictor_host=127.0.0.1:{ports[0]}", "--predictor_protocol=v2"]
    with contextlib.ExitStack() as stack:
        predictor, transformer = (
            stack.enter_context(
                running(
                    [sys.executable, "-m", "benchmarks.noop", part, f"--http_port={port}", *flags],
                    port=port,
                    ready_path="/",
                )
            )
            for part, port, flags in zip(("predictor", "transformer"), ports, ([], chained), strict=True)
        )
        yield predictor.url, transformer.url


def _paired_seconds(first: Callable[[int], None], second: Callable[[int], None], rounds: int) -> tuple[float, float]:
    """Median seconds of two functions that get the round's number, in turns block by block.

    A block starts with a call that does not count: in service neither side finds the other's data in the caches.
    """
    sides: tuple[list[float], list[float]] = ([], [])
    for block in range(0, rounds, 10):
        for function, seconds in zip((first, second), sides, strict=True):
            function(block)
            for index in range(block, min(block + 10, rounds)):
                begun = time.perf_counter()
                function(index)
                seconds.append(time.perf_counter() - begun)
    return statistics.median(sides[0]), statistics.median(sides[1])


def _applications(package: ModelPackage, count: int) -> list[dict[str, Any]]:
    names = [column.name for column in package.signature.inputs]
    return [{name: row[name] for name in names} for row in package.reference().slice(0, count).to_pylist()]


def _infer_request(package: ModelPackage, application: dict[str, Any]) -> dict[str, Any]:
    from blueprints.credit_risk.application import encode_applications

    columns = package.signature.inputs
    (row,) = encode_applications([application], columns).tolist()
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [1],
                "datatype": "FP32" if column.kind == "number" or column.nullable else "INT32",
                "data": [value if column.kind == "number" or column.nullable else int(value)],
            }
            for column, value in zip(columns, row, strict=True)
        ]
    }

"""From trained and named segments to a model package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blueprints.datasets import SEGMENTATION, SnapshotInfo
from blueprints.model_package import ModelPackage, Signature, write_package
from blueprints.provenance import installed_versions, trace_lineage
from blueprints.schema import Column
from blueprints.segmentation import MODEL_NAME
from blueprints.segmentation.choose_k import ChoiceReport
from blueprints.segmentation.features import FEATURES
from blueprints.segmentation.partitions import PartitionSummary
from blueprints.segmentation.preprocessing import ModelFormatError, load_model
from blueprints.segmentation.profiles import show, show_share
from blueprints.segmentation.segmenter import WEIGHTS, Segmenter
from blueprints.segmentation.segments import CONFIDENCE, SEGMENT, SEGMENTS, Segments
from blueprints.segmentation.training import CHOICE

if TYPE_CHECKING:
    from blueprints.model_package import Lineage

_PACKAGES = ("scikit-learn", "skops", "numpy", "ml-deployment-blueprints")


def package_segmenter(
    folder: Path,
    model: Path,
    summary: bytes,
    *,
    dataset: str,
    run_date: str,
    pipeline_run: str,
    columns: tuple[Column, ...] = FEATURES,
    parent_model: str = "",
    reference_rows: int = 1000,
    seed: int = 0,
) -> ModelPackage:
    """Writes the model package of a segmentation.

    Args:
        folder: Where it shall lie; must not exist, or be empty.
        model: Folder of the trained segments, see `Trained.save`.
        summary: Summary of the customers that it was trained on; some of its sample become the reference.
        dataset: Where their purchases come from: a named dataset, or a name of one's own.
        run_date: Date that the features were computed as of.
        pipeline_run: Id of the run that made it.
        columns: The features, in the model's order.
        parent_model: Version of the champion at that time.
        reference_rows: Size of the reference sample.
        seed: Seed of the sample.

    Raises:
        ModelFormatError: The folder holds no trained segments.
        PartitionError: The summary is none.
    """
    import pyarrow as pa

    try:
        content, segments_json, choice_json = ((model / name).read_bytes() for name in (WEIGHTS, SEGMENTS, CHOICE))
    except OSError as error:
        raise ModelFormatError(f"{model.name} holds no trained segments: {error.strerror}, {error.filename}") from error
    segmenter = Segmenter(load_model(content), Segments.model_validate_json(segments_json))
    choice = ChoiceReport.model_validate_json(choice_json)
    customers = PartitionSummary.from_bytes(summary)
    sample, data = customers.sample, _data(summary, customers.rows, columns, dataset, run_date)
    segments = segmenter.segments
    rows = np.random.default_rng(seed).permutation(len(sample))[:reference_rows]
    reference = np.asarray(sample[rows], np.float64)
    assigned = segmenter.assign(reference)
    best = choice.candidate(choice.k)
    lineage = trace_lineage(
        data,
        pipeline_run=pipeline_run,
        parameters={"k": choice.k, "tried": [one.k for one in choice.candidates], "method": choice.method},
        metrics={
            "silhouette": best.silhouette.value,
            "davies_bouldin": best.davies_bouldin,
            "calinski_harabasz": best.calinski_harabasz,
            "segments": float(choice.k),
            **({"stability": best.stability.value} if best.stability else {}),
        },
        packages=installed_versions(_PACKAGES),
        parent_model=parent_model,
    )
    names = np.array(segments.names, dtype=object)
    return write_package(
        folder,
        files={WEIGHTS: content, SEGMENTS: segments.model_dump_json(indent=2).encode()},
        signature=Signature(model_name=MODEL_NAME, inputs=columns, outputs=output_columns(segments.names)),
        lineage=lineage,
        reference=pa.table(
            {
                **{
                    column.name: pa.array(values, from_pandas=True)
                    for column, values in zip(columns, reference.T, strict=True)
                },
                SEGMENT: names[assigned.indices].tolist(),
                CONFIDENCE: assigned.confidence,
            }
        ),
        model_card=model_card(segmenter, columns, lineage, data, choice),
    )


def _data(summary: bytes, rows: int, columns: tuple[Column, ...], dataset: str, run_date: str) -> SnapshotInfo:
    """What the model was trained on; its hash is that of the summary, which every change of a feature changes."""
    named = {one.name: one for one in SEGMENTATION}.get(dataset)
    described = "\n".join(column.model_dump_json() for column in columns).encode()
    return SnapshotInfo(
        name=dataset,
        version=run_date,
        rows=rows,
        sha256=hashlib.sha256(summary).hexdigest(),
        schema_sha256=hashlib.sha256(described).hexdigest(),
        source=named.source if named else "purchases in the warehouse",
        licence=named.licence if named else "",
        created_from=hashlib.sha256(summary).hexdigest(),
    )


def output_columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    """The segment's name, and how clearly a customer belongs to it."""
    return (
        Column(name=SEGMENT, kind="category", title="segment", description="Name of the segment.", categories=names),
        Column(
            name=CONFIDENCE,
            kind="number",
            title="confidence",
            description="Simplified silhouette: 0 on the border to the next segment, 1 at the centroid.",
            minimum=0,
            maximum=1,
        ),
    )


def model_card(
    segmenter: Segmenter, columns: tuple[Column, ...], lineage: Lineage, data: SnapshotInfo, choice: ChoiceReport
) -> str:
    """The model card (Mitchell et al., 2019) as Markdown."""
    best = choice.candidate(choice.k)
    titles = {column.name: column for column in columns}
    segments = "\n".join(
        f"| {one.id} | {one.name} | {one.size:,} | {show_share(one.share)} | "
        + "; ".join(f"{titles[name].label} {show(value, titles[name])}" for name, value in one.centroid.items())
        + " |"
        for one in segmenter.segments.segments
    )
    tried = "\n".join(
        f"| {one.k} | {one.silhouette} | {one.davies_bouldin:.3f} | {one.stability or '–'} |"
        for one in choice.candidates
    )
    logged = [name for name, taken in zip(segmenter.columns, segmenter.preprocessing.logged, strict=True) if taken]
    return f"""# Model card: {MODEL_NAME}

Segments of customers who buy alike: k-means on {len(columns)} features of how they bought, standardised, missing values
replaced by medians{", logarithms of " + ", ".join(logged) if logged else ""}.

## Intended use
Planning campaigns and reports for groups of customers, and telling which group a customer is in. Not for decisions
that matter to one person, such as credit or prices: a segment says what a group has in common, not what somebody is.

## Data
`{lineage.dataset}` as of {lineage.dataset_version}, summary `{lineage.dataset_sha256}`; {data.rows:,} customers.
Source: {data.source}. Licence: {data.licence or "not stated"}.

## Segments
| id | segment | customers | share | centroid |
|---|---|---|---|---|
{segments}

Ids stay with a segment from run to run; names stay as long as they are true.

## How many
Silhouettes of {choice.sampled_rows:,} of {choice.rows:,} customers ({choice.method}).

| segments | silhouette (95 % interval) | Davies–Bouldin | stability |
|---|---|---|---|
{tried}

Chosen: {choice.k}, silhouette {best.silhouette}.

## Limits
Clusters of k-means are balls of like size in the standardised space; customers between two of them have a confidence
near 0. A customer's segment changes with time alone, as days since the last purchase go by.
"""

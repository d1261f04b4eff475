"""From feature rows to the space that clusters are found in: impute, take logarithms, standardise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from blueprints.segmentation.moments import Moments, signed_log

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SKEWNESS = 1.0
"""Columns more skewed than this have their logarithm taken, if that makes them less skewed."""

# What skops may build beyond its own list: a function of ours, and the type of a number.
_TRUSTED = ("blueprints.segmentation.moments.signed_log", "numpy.dtype")

_IMPUTE, _LOG, _SCALE, _CLUSTER = "impute", "log", "scale", "cluster"


class DegenerateDataError(ValueError):
    """The rows cannot be clustered: a column without values or without variation, too few distinct rows."""


class ModelFormatError(ValueError):
    """Bytes are no pipeline of ours, or hold what may not be loaded."""


@dataclass(frozen=True)
class Preprocessing:
    """How a feature row becomes a point.

    Attributes:
        columns: Names of the features, in order.
        medians: What replaces a missing value, shape (k,).
        logged: Columns whose signed logarithm is taken, bool of shape (k,).
        means: Means after that, shape (k,).
        scales: Standard deviations after that, above 0, shape (k,).
    """

    columns: tuple[str, ...]
    medians: NDArray[np.float64]
    logged: NDArray[np.bool_]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]

    @classmethod
    def of(cls, pipeline: Pipeline, columns: Sequence[str]) -> Self:
        """The preprocessing inside a fitted pipeline, whose steps are those of `build_pipeline`."""
        medians = np.asarray(pipeline[_IMPUTE].statistics_, np.float64)
        logged = np.zeros(len(medians), np.bool_)
        logged[pipeline[_LOG].kw_args["columns"]] = True
        scaler = pipeline[_SCALE]
        if len(columns) != len(medians):
            raise ModelFormatError(f"the pipeline has {len(medians)} features, not the {len(columns)} that are named")
        return cls(
            columns=tuple(columns),
            medians=medians,
            logged=logged,
            means=np.asarray(scaler.mean_, np.float64),
            scales=np.asarray(scaler.scale_, np.float64),
        )

    @classmethod
    def from_moments(
        cls,
        columns: Sequence[str],
        medians: NDArray[np.float64],
        raw: Moments,
        logarithms: Moments,
        *,
        log: Sequence[str] | Literal["auto"] = "auto",
    ) -> Self:
        """The preprocessing that a table's moments ask for.

        Args:
            columns: Names of the features, in order.
            medians: Their medians, shape (k,).
            raw: Moments of the features.
            logarithms: Moments of their signed logarithms.
            log: Columns whose logarithm is taken; `auto` takes the skewed ones.

        Raises:
            DegenerateDataError: A column is empty, infinite or constant, or there are fewer than two rows.
            ValueError: `log` names a column that is not there.
        """
        _check(columns, raw)
        raw, logarithms = raw.imputed(medians), logarithms.imputed(np.asarray(signed_log(medians), np.float64))
        if log == "auto":
            skewness = np.abs(raw.skewness)
            logged = (skewness > SKEWNESS) & (np.abs(logarithms.skewness) < skewness)
        else:
            if unknown := sorted(set(log) - set(columns)):
                raise ValueError(f"log: no column is named {unknown[0]!r}; there are {', '.join(columns)}")
            logged = np.array([name in log for name in columns], np.bool_)
        scales = np.where(logged, logarithms.deviations, raw.deviations)
        for name, scale, low, high in zip(columns, scales, raw.minima, raw.maxima, strict=True):
            if low == high:
                raise DegenerateDataError(f"column {name!r} is {low:g} in every row; leave it out, it tells nothing")
            if not (scale > 0 and np.isfinite(scale)):
                raise DegenerateDataError(f"column {name!r} reaches from {low:g} to {high:g}; rescale it")
        return cls(
            columns=tuple(columns),
            medians=np.asarray(medians, np.float64),
            logged=logged,
            means=np.where(logged, logarithms.means, raw.means),
            scales=scales,
        )

    def transform(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points of feature rows, shape (n, k), NaN where a value is missing."""
        values = np.array(features, np.float64)
        for position, median in enumerate(self.medians):
            column = values[:, position]
            column[np.isnan(column)] = median
            if self.logged[position]:
                values[:, position] = signed_log(column)
        values -= self.means
        values /= self.scales
        return values

    def inverse(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Feature rows of points, in the features' own units."""
        values = np.asarray(points, np.float64) * self.scales + self.means
        logged = values[:, self.logged]
        values[:, self.logged] = np.copysign(np.expm1(np.abs(logged)), logged)
        return values


def fit_preprocessing(
    features: NDArray[np.floating], columns: Sequence[str], *, log: Sequence[str] | Literal["auto"] = "auto"
) -> Preprocessing:
    """Learns how feature rows become points.

    Args:
        features: Rows, shape (n, k), NaN where a value is missing.
        columns: Names of the features, in order.
        log: Columns whose logarithm is taken; `auto` takes those whose skewness exceeds `SKEWNESS` and shrinks by it.

    Raises:
        DegenerateDataError: A column is empty, infinite or constant, or there are fewer than two rows.
        ValueError: The rows have other columns than are named.
    """
    if features.ndim != 2 or features.shape[1] != len(columns):
        raise ValueError(f"features have the shape {features.shape}, not (rows, {len(columns)}): name every column")
    raw = Moments.of(features)
    _check(columns, raw)
    medians = np.array([np.median(column[~np.isnan(column)]) for column in features.T], np.float64)
    return Preprocessing.from_moments(columns, medians, raw, Moments.of(signed_log(features)), log=log)


def build_pipeline(columns: Sequence[str], k: int, *, log: Sequence[str] = (), seed: int = 0) -> Pipeline:
    """The untrained scikit-learn pipeline: median imputer, signed logarithm, scaler, k-means.

    Args:
        columns: Names of the features, in order.
        k: Number of clusters.
        log: Columns whose logarithm is taken.
        seed: Seed of k-means.
    """
    from sklearn.cluster import KMeans
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    positions = [position for position, name in enumerate(columns) if name in log]
    return Pipeline(
        [
            (_IMPUTE, SimpleImputer(strategy="median")),
            (_LOG, FunctionTransformer(signed_log, kw_args={"columns": positions})),
            (_SCALE, StandardScaler()),
            (_CLUSTER, KMeans(k, n_init=10, random_state=seed)),
        ]
    )


def fitted_pipeline(preprocessing: Preprocessing, centers: NDArray[np.floating], *, seed: int = 0) -> Pipeline:
    """The pipeline with what was learned elsewhere, as if `fit` had found it.

    Args:
        preprocessing: Medians, logarithms and scales.
        centers: Centroids in the space of `Preprocessing.transform`, shape (k, features), distinct.
        seed: Seed of k-means, for whoever fits it again.
    """
    columns = preprocessing.columns
    centers = np.ascontiguousarray(centers, np.float64)
    log = [name for name, logged in zip(columns, preprocessing.logged, strict=True) if logged]
    pipeline = build_pipeline(columns, len(centers), log=log, seed=seed)
    medians, means, scales = preprocessing.medians, preprocessing.means, preprocessing.scales
    pipeline[_IMPUTE].fit(medians[None])
    pipeline[_LOG].fit(medians[None])
    scaler = pipeline[_SCALE].fit(np.stack([means - scales, means + scales]))
    scaler.mean_, scaler.scale_, scaler.var_ = means, scales, scales**2
    cluster = pipeline[_CLUSTER].set_params(n_init=1).fit(centers)
    cluster.set_params(n_init=10)
    cluster.cluster_centers_ = centers
    cluster.labels_ = np.arange(len(centers), dtype=np.int32)
    return pipeline


def centers_of(pipeline: Pipeline) -> NDArray[np.float64]:
    """Centroids of a fitted pipeline in the space of `Preprocessing.transform`, shape (k, features)."""
    return np.asarray(pipeline[_CLUSTER].cluster_centers_, np.float64)


def dump_model(pipeline: Pipeline) -> bytes:
    """A fitted pipeline as skops bytes, which cannot execute code on load."""
    import skops.io

    return bytes(skops.io.dumps(pipeline))


def load_model(content: bytes) -> Pipeline:
    """The pipeline in skops bytes.

    Raises:
        ModelFormatError: The bytes are no such file, name a type beyond the trusted ones, or hold another pipeline.
    """
    import zipfile

    import skops.io
    from sklearn.pipeline import Pipeline

    try:
        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        pipeline = None if untrusted else skops.io.loads(content, trusted=list(_TRUSTED))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFormatError("the bytes are no skops model; write it with dump_model") from error
    if untrusted:
        raise ModelFormatError(f"the model names {', '.join(untrusted)}, which may not be loaded")
    names = [_IMPUTE, _LOG, _SCALE, _CLUSTER]
    if not isinstance(pipeline, Pipeline) or [name for name, _ in pipeline.steps] != names:
        raise ModelFormatError(f"the model is no pipeline of {', '.join(names)}; build it with build_pipeline")
    return pipeline


def _check(columns: Sequence[str], moments: Moments) -> None:
    rows = int((moments.counts + moments.missing).max(initial=0))
    if rows < 2:
        raise DegenerateDataError(f"{rows} rows cannot be clustered; give at least two")
    for name, count, low, high in zip(columns, moments.counts, moments.minima, moments.maxima, strict=True):
        if count == 0:
            raise DegenerateDataError(f"column {name!r} is missing in every row; leave it out")
        if np.isinf(low) or np.isinf(high):
            raise DegenerateDataError(f"column {name!r} holds infinite values; make them missing or finite")

"""The trained segments as servers and batch jobs use them: which segment, how sure, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage, PackageError
from blueprints.segmentation.nearest_centroid import Assignment, NearestCentroid
from blueprints.segmentation.preprocessing import ModelFormatError, Preprocessing, centers_of, load_model
from blueprints.segmentation.segments import SEGMENTS, Segments

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

WEIGHTS = "model.skops"


class Explained(NamedTuple):
    """Why rows are in their segment and not in the next one.

    Attributes:
        indices: Position of the segment, int32 of shape (n,).
        runner_up: Position of the segment with the second nearest centroid, int32 of shape (n,).
        contributions: How much each feature speaks for the segment against the runner-up,
            `(z - c2)^2 - (z - c1)^2` in standardised space, shape (n, features); negative speaks for the runner-up.
        margins: Squared distance to the runner-up minus that to the segment, shape (n,); each row's contributions
            sum to its margin exactly.
    """

    indices: NDArray[np.int32]
    runner_up: NDArray[np.int32]
    contributions: NDArray[np.float64]
    margins: NDArray[np.float64]


class Segmenter:
    """Assigns customers to segments, equal to the scikit-learn pipeline's `predict`, in fused single precision.

    Thread-safe. Feature matrices have the shape (n, k), float32 or float64, columns in the order of `columns`, missing
    values as NaN. Matrices in column order (`order="F"`) are read fastest.

    Args:
        pipeline: The fitted pipeline of `build_pipeline` or `fitted_pipeline`.
        segments: What its centroids stand for.
        version: Version of the model package that it came from.

    Raises:
        ModelFormatError: The pipeline and the segments do not fit together.
    """

    def __init__(self, pipeline: Pipeline, segments: Segments, *, version: str = "") -> None:
        self.segments = segments
        self.version = version
        self.preprocessing = Preprocessing.of(pipeline, segments.columns)
        self.centers = centers_of(pipeline)
        self.ids: NDArray[np.int64] = np.array(segments.ids, np.int64)
        if len(self.centers) != len(self.ids):
            raise ModelFormatError(f"the pipeline has {len(self.centers)} centroids, not {len(self.ids)} segments")
        self._nearest = NearestCentroid(self.preprocessing, self.centers)

    @classmethod
    def from_package(cls, package: ModelPackage) -> Self:
        """The segmenter of a verified model package.

        Raises:
            PackageError: The weights or the segments cannot be read, or do not fit the signature.
        """
        segments = package.document(SEGMENTS, Segments)
        if segments.columns != tuple(column.name for column in package.signature.inputs):
            raise PackageError(f"{package.folder}: {SEGMENTS} has other features than signature.json")
        try:
            return cls(load_model(package.read_bytes(WEIGHTS)), segments, version=package.version)
        except ModelFormatError as error:
            raise PackageError(f"{package.folder}: {WEIGHTS}: {error}") from error

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, in the order of the feature matrix."""
        return self.preprocessing.columns

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.int32]:
        """Positions of the segments, shape (n,).

        Raises:
            ValueError: A value is infinite, or the rows have other columns.
        """
        self._check(features)
        return self.predict_columns(list(features.T))

    def predict_columns(self, columns: Sequence[NDArray[np.floating]]) -> NDArray[np.int32]:
        """Positions of the segments of rows that come as columns, such as those of an Arrow batch.

        Raises:
            ValueError: A value is infinite, or further out than single precision can tell.
        """
        return self._nearest.predict(columns)

    def assign(self, features: NDArray[np.floating]) -> Assignment:
        """Segments, distances and confidence of rows.

        Raises:
            ValueError: A value is infinite, or the rows have other columns.
        """
        self._check(features)
        return self.assign_columns(list(features.T))

    def assign_columns(self, columns: Sequence[NDArray[np.floating]]) -> Assignment:
        """Segments, distances and confidence of rows that come as columns.

        Raises:
            ValueError: A value is infinite, or further out than single precision can tell.
        """
        return self._nearest.assign(columns)

    def explain(self, features: NDArray[np.floating]) -> Explained:
        """Which features put rows into their segment rather than into the next one.

        Raises:
            ValueError: The rows have other columns.
        """
        self._check(features)
        points = self.preprocessing.transform(features)
        squared = (points[:, None, :] - self.centers) ** 2
        order = np.argsort(squared.sum(axis=2), axis=1, kind="stable")
        rows = np.arange(len(points))
        first, second = order[:, 0], order[:, 1]
        contributions = squared[rows, second] - squared[rows, first]
        margins: NDArray[np.float64] = contributions.sum(axis=1)
        return Explained(first.astype(np.int32), second.astype(np.int32), contributions, margins)

    def _check(self, features: NDArray[np.floating]) -> None:
        if features.ndim != 2 or features.shape[1] != len(self.columns):
            names = ", ".join(self.columns)
            raise ValueError(f"features have the shape {features.shape}, not (rows, {len(self.columns)}): {names}")

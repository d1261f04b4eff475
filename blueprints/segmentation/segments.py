"""The segments of a model: ids that stay from run to run, names, sizes, centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEGMENTS = "segments.json"
"""File of a model package that holds `Segments`."""

SEGMENT, CONFIDENCE = "segment", "confidence"
"""Names of a model's outputs: the segment's name, and how clearly a row belongs to it."""

LONGEST = 80
"""Characters of a name."""


class Trait(BaseModel):
    """What sets a segment apart: one feature that is lower or higher there than elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature: str
    level: Literal["low", "high"]


class Segment(BaseModel):
    """One segment.

    Attributes:
        id: What names the segment in tables and over runs, from 1; an id is never given to another segment.
        name: Two to six words for people; unique among the segments of a model, and may change while the id stays.
        description: One sentence: what its customers have in common, in figures.
        size: Customers that the model was fitted on and that are in this segment.
        share: The same as a share of all, 0 to 1.
        centroid: Value of each feature at the centroid in the feature's own unit, in the order of the model's inputs.
        traits: What the name says, strongest first; a later run keeps the name as long as they hold. Empty for a name
            that a person gave, which is always kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=1)
    name: str = Field(min_length=1, max_length=LONGEST)
    description: str = ""
    size: int = Field(ge=0)
    share: float = Field(ge=0, le=1)
    centroid: dict[str, FiniteFloat] = Field(min_length=1)
    traits: tuple[Trait, ...] = ()


class Segments(BaseModel):
    """All segments of a model.

    Attributes:
        segments: One for each centroid of the model, in the order of its centroids: the model's label i is
            `segments[i]`.
        next_id: The id that the next new segment gets; above every id that was ever given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: tuple[Segment, ...] = Field(min_length=2)
    next_id: int = Field(ge=3)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for what, values in (("ids", self.ids), ("names", self.names)):
            if len(set(values)) != len(values):
                raise ValueError(f"segments: {what} repeat: {', '.join(map(str, values))}")
        if self.next_id <= max(self.ids):
            raise ValueError(f"next_id {self.next_id} must be above every segment's id, the highest is {max(self.ids)}")
        if len({tuple(segment.centroid) for segment in self.segments}) > 1:
            raise ValueError("segments: the centroids must have the same features in the same order")
        return self

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids in the order of the model's centroids."""
        return tuple(segment.id for segment in self.segments)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the model's centroids."""
        return tuple(segment.name for segment in self.segments)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features in the order of the model's inputs."""
        return tuple(self.segments[0].centroid)

    def centroids(self) -> NDArray[np.float64]:
        """The centroids in the features' own units, shape (segments, features)."""
        import numpy as np

        return np.array([tuple(segment.centroid.values()) for segment in self.segments])

    def name_of(self, identifier: int) -> str:
        """Name of the segment with that id.

        Raises:
            KeyError: No segment has that id.
        """
        for segment in self.segments:
            if segment.id == identifier:
                return segment.name
        raise KeyError(identifier)

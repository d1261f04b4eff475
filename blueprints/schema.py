"""Columns and tables: one description of data, shared by datasets, model packages and servers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ColumnKind = Literal["number", "integer", "category", "timestamp", "text"]


class Column(BaseModel):
    """One named, typed, bounded column.

    Attributes:
        name: Identifier, lower case with underscores; the same in data, models and requests.
        kind: `number` (float), `integer`, `category` (one of `categories`), `timestamp` (UTC) or `text`.
        title: The name in plain words, as used in reports and in reasons for a decision.
        description: What the value means, one sentence.
        unit: Unit of a number: `"NTD"`, `"years"`, `"months"`; empty if it has none.
        minimum: Smallest accepted number, inclusive. Only for numbers.
        maximum: Largest accepted number, inclusive. Only for numbers.
        minimum_length: Fewest characters of a text.
        maximum_length: Most characters of a text.
        categories: Accepted labels in their order; a label's position is its code in tensors.
        nullable: Whether a value may be missing (NaN in tensors, `null` in JSON).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)
    kind: ColumnKind
    title: str = ""
    description: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    minimum_length: int | None = Field(default=None, ge=0)
    maximum_length: int | None = Field(default=None, ge=1)
    categories: tuple[str, ...] = ()
    nullable: bool = False

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        numeric = self.kind in ("number", "integer")
        if (self.kind == "category") != bool(self.categories):
            raise ValueError(f"column {self.name!r}: 'categories' goes with kind 'category', and only there")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r}: categories repeat")
        if not numeric and (self.minimum is not None or self.maximum is not None):
            raise ValueError(f"column {self.name!r}: only numbers have a minimum and a maximum")
        if self.kind != "text" and (self.minimum_length is not None or self.maximum_length is not None):
            raise ValueError(f"column {self.name!r}: only texts have a minimum and a maximum length")
        if (self.minimum_length or 0) > (self.maximum_length or float("inf")):
            raise ValueError(f"column {self.name!r}: minimum_length is above maximum_length")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"column {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}")
        return self

    @property
    def label(self) -> str:
        """The title, or the name with spaces where no title is given."""
        return self.title or self.name.replace("_", " ")


class TableSchema(BaseModel):
    """A table and the roles that its columns play.

    Attributes:
        columns: Every column, in order.
        target: Name of the target: binary (1 is the event, such as default, 0 the rest) or, for texts, a category.
            Empty for a table that nothing is predicted from, such as purchases.
        time: Name of the timestamp column, if rows have a time.
        group: Name of a column that says which rows belong together, such as sentences of one document: a split keeps
            them on one side. No input of a model.
        identifier: Name of a column that names the row and carries no signal, if there is one.
        protected: Columns that describe protected groups: audited, and no input of a model by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...] = Field(min_length=2)
    target: str = ""
    time: str | None = None
    group: str | None = None
    identifier: str | None = None
    protected: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _roles_exist(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("column names repeat")
        roles = {"target": self.target or None, "time": self.time, "group": self.group, "identifier": self.identifier}
        for role, name in [*roles.items(), *(("protected", name) for name in self.protected)]:
            if name is not None and name not in names:
                raise ValueError(f"{role}: no column is named {name!r}; there are {', '.join(names)}")
        if self.time is not None and self.column(self.time).kind != "timestamp":
            raise ValueError(f"time: column {self.time!r} must be of kind 'timestamp'")
        return self

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            KeyError: No column has that name.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def outcome(self) -> Column:
        """The target's column.

        Raises:
            ValueError: The table has no target.
        """
        if not self.target:
            raise ValueError(
                "the table has no target, so there is nothing to learn to predict; name the column in the schema"
            )
        return self.column(self.target)

    @property
    def text(self) -> Column | None:
        """The column that holds the texts to classify, if there is one: of kind `text` and without a role."""
        return next((column for column in self.features() if column.kind == "text"), None)

    def features(self, *, with_protected: bool = False) -> tuple[Column, ...]:
        """The columns that a model may learn from, in order.

        Args:
            with_protected: Include the protected columns. Off by default: a lender may not decide by them.
        """
        left_out = {self.target, self.time, self.group, self.identifier}
        if not with_protected:
            left_out.update(self.protected)
        return tuple(column for column in self.columns if column.name not in left_out)

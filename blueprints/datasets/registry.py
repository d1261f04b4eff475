"""The named datasets."""

from __future__ import annotations

from blueprints.datasets.car_loan import CAR_LOAN
from blueprints.datasets.cdnow import CDNOW
from blueprints.datasets.errors import DatasetError
from blueprints.datasets.german import GERMAN
from blueprints.datasets.named import Dataset, NamedDataset
from blueprints.datasets.schema_file import parse_schema
from blueprints.datasets.sentences import FILM_SENTENCES, SENTENCES
from blueprints.datasets.taiwan import TAIWAN
from blueprints.datasets.user import FileDataset, QueryDataset

CREDIT = (TAIWAN, CAR_LOAN, GERMAN)
"""Datasets for credit risk; the first is the default."""

SENTIMENT = (FILM_SENTENCES, SENTENCES)
"""Datasets for sentiment; the first is the default."""

SEGMENTATION = (CDNOW,)
"""Datasets for segmentation: purchases, without a target."""

_BY_NAME = {dataset.name: dataset for dataset in (*CREDIT, *SENTIMENT, *SEGMENTATION)}


def names() -> tuple[str, ...]:
    """Names of all datasets."""
    return tuple(_BY_NAME)


def get(name: str) -> NamedDataset:
    """The dataset of that name.

    Raises:
        DatasetError: There is none.
    """
    if name not in _BY_NAME:
        raise DatasetError(f"there is no dataset {name!r}; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def resolve(name: str, *, data_uri: str = "", sql_query: str = "", schema_yaml: str = "") -> Dataset:
    """The dataset that a run's parameters mean: a named one, or a user's own file or query.

    Args:
        name: A named dataset; with own data, the name to give it (`own` if it is a named dataset's).
        data_uri: Own CSV or Parquet file: path or URI.
        sql_query: Own data as one SELECT, see `QueryDataset`.
        schema_yaml: Schema of own data, as YAML text.

    Raises:
        DatasetError: The parameters contradict each other, or name nothing.
    """
    if not (data_uri or sql_query):
        if schema_yaml:
            raise DatasetError("a schema goes with one's own data: give a file or a query, too")
        return get(name)
    if data_uri and sql_query:
        raise DatasetError("give a file or a query, not both")
    if not schema_yaml:
        raise DatasetError("one's own data needs a schema: columns, target, time and protected columns, as YAML")
    schema = parse_schema(schema_yaml)
    own = "own" if name in _BY_NAME else name
    return FileDataset(data_uri, schema, name=own) if data_uri else QueryDataset(sql_query, schema, name=own)

"""Ingest: a named dataset or a user's own data becomes a snapshot."""

from kfp.dsl import Dataset, Output

from components import component


@component
def ingest_dataset(
    snapshot: Output[Dataset],
    dataset: str = "taiwan",
    data_uri: str = "",
    sql_query: str = "",
    schema_yaml: str = "",
) -> None:
    """Fetches, verifies and checks a dataset, and writes it as a snapshot.

    A named dataset comes from the package index, pinned by SHA-256. One's own data is a file or a query, with a
    schema; the database's URL is read from the environment variable BLUEPRINTS_DATABASE_URL, never from a parameter.

    Args:
        snapshot: Folder with data.parquet, schema.yaml and snapshot.json. Metadata: name, version, rows, sha256,
            source, licence.
        dataset: Name of a dataset (taiwan, car_loan, german; film_sentences, sentences), or the name to give to one's
            own data.
        data_uri: Own CSV or Parquet file: a path or a URI (s3://, gs://, file://).
        sql_query: Own data as one SELECT.
        schema_yaml: Schema of one's own data, as YAML text.
    """
    import logging
    from pathlib import Path

    from blueprints.datasets import resolve, write_snapshot
    from blueprints.progress import report_progress

    chosen = resolve(dataset, data_uri=data_uri, sql_query=sql_query, schema_yaml=schema_yaml)
    info = write_snapshot(
        chosen,
        Path(snapshot.path),
        progress=lambda what, done, total: report_progress(done, total, f"bytes of {what}"),
    )
    snapshot.metadata.update(info.model_dump())
    logging.getLogger("ingest_dataset").info("%s %s: %d rows, %s", info.name, info.version, info.rows, info.sha256)

"""CSV as people write it: read as texts, so that `conform` can name every value that does not fit."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING

from blueprints.datasets.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd
    from pyarrow import csv as arrow_csv


def read_csv(content: bytes, *, origin: str, delimiter: str = ",") -> pd.DataFrame:
    """The table in a CSV file, every value a text.

    UTF-8 (with or without byte-order mark) and UTF-16 with a byte-order mark are understood; other encodings are
    refused rather than guessed.

    Args:
        content: The file's bytes; the first line names the columns.
        origin: File name for error messages.
        delimiter: One character.

    Raises:
        DatasetError: No header, an unknown encoding, a repeated column, or a row with too few or too many fields.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = _decode(content, origin)
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    _check_header(names, origin, delimiter)
    ragged: list[str] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        where = "" if row.number is None else f" (line {row.number} of the file)"
        ragged.append(
            f"a row{where} has {row.actual_columns} fields, the header {row.expected_columns}: {row.text[:80]!r}"
        )
        return "error"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=arrow_csv.ReadOptions(use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse, ignore_empty_lines=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        reason = ragged[0] if ragged else str(error).split(". ")[0]
        raise DatasetError(f"{origin}: not a regular CSV table: {reason}") from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _decode(content: bytes, origin: str) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DatasetError(f"{origin}: line {line} is not UTF-8 text; save the file as UTF-8") from error


def _check_header(names: list[str], origin: str, delimiter: str) -> None:
    if not any(name.strip() for name in names):
        raise DatasetError(f"{origin}: the first line must name the columns; it is empty")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DatasetError(f"{origin}: column {', '.join(map(repr, repeated))} occurs more than once; keep one")
    if len(names) == 1:
        others = [other for other in ";\t|," if other != delimiter and other in names[0]]
        if others:
            raise DatasetError(f"{origin}: one column {names[0]!r}; the delimiter seems to be {others[0]!r}: say so")

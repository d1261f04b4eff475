"""Whether purchases can be trusted: checks in SQL, in the warehouse, before features are made of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from blueprints.report import Report
from blueprints.segmentation.transactions import COLUMNS, CUSTOMER, LARGEST_AMOUNT, TRANSACTIONS, USABLE
from blueprints.segmentation.warehouse import Warehouse, WarehouseError
from blueprints.segmentation.warehouse.publication import check_table, quote

Level = Literal["warn", "fail"]


class Finding(BaseModel):
    """Something wrong with some rows.

    Attributes:
        check: Name of the check, lower case with underscores.
        level: `fail` if features must not be made of the rows, `warn` if they may.
        rows: How many rows it concerns.
        message: What is wrong, and what becomes of the rows or what to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    level: Level
    rows: int = Field(ge=0)
    message: str


class Validation(BaseModel):
    """What a table of purchases is like.

    Attributes:
        table: Its name.
        as_of: The date that features are to be computed as of.
        rows: All rows.
        counted: Rows before the date without a wrong value: those that features are made of.
        customers: Different customers among the rows that count.
        first: Earliest purchase, ISO 8601; empty if there is none.
        last: Latest purchase, ISO 8601; empty if there is none.
        findings: What is wrong; failures first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    as_of: date
    rows: int
    counted: int
    customers: int
    first: str = ""
    last: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that forbid to go on."""
        return tuple(finding for finding in self.findings if finding.level == "fail")

    def metrics(self) -> dict[str, float]:
        """Figures for a pipeline: rows, customers, and rows of every finding."""
        found = {finding.check: float(finding.rows) for finding in self.findings}
        return {"rows": self.rows, "counted_rows": self.counted, "customers": self.customers, **found}

    def html(self) -> str:
        """One page without scripts or outside resources."""
        report = Report(f"Purchases in {self.table}", f"As features of {self.as_of.isoformat()} would be made of them.")
        report.tiles(
            [
                ("rows", f"{self.rows:,}"),
                ("that count", f"{self.counted:,}"),
                ("customers", f"{self.customers:,}"),
                ("first purchase", self.first[:10] or "–"),
                ("last purchase", self.last[:10] or "–"),
            ]
        )
        failed = len(self.failures)
        words = "No check failed" if self.passed else f"{failed} {'check' if failed == 1 else 'checks'} failed"
        report.verdict(words, good=self.passed)
        if self.findings:
            report.heading("Findings")
            rows = [(one.level, one.check.replace("_", " "), one.rows, one.message) for one in self.findings]
            report.table(("level", "check", "rows", "what it means"), rows)
        return report.html()


def validate(
    warehouse: Warehouse,
    as_of: date,
    *,
    transactions: str = TRANSACTIONS,
    tolerance: float = 0.0,
    now: datetime | None = None,
) -> Validation:
    """Checks the purchases; nothing is changed.

    Missing, negative and infinite values are failures if they concern more than `tolerance` of the rows, and warnings
    below that: features are made without those rows. Too few customers are a failure. Equal rows and purchases in the
    future are warnings.

    Args:
        warehouse: Where they are.
        as_of: The date that features are to be computed as of.
        transactions: Table or view of the purchases.
        tolerance: Share of the rows that may be wrong, 0 to 1.
        now: The time, by default that of the clock.

    Raises:
        WarehouseError: The table is not there or lacks a column.
        ValueError: The tolerance is no share.
    """
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance is a share of the rows, from 0 to 1, not {tolerance}")
    if not warehouse.exists(check_table(transactions)):
        raise WarehouseError(f"there is no table {transactions!r} of purchases; load them first")
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    found = _figures(warehouse, transactions, as_of, moment)
    rows, counted, customers = found["all_rows"], found["counted"], found["customers"]
    findings = []
    for check, _, words in _VALUE_CHECKS:
        if found[check] > tolerance * rows:
            findings.append(Finding(check=check, level="fail", rows=found[check], message=words))
        elif found[check]:
            findings.append(
                Finding(check=check, level="warn", rows=found[check], message=f"They do not count. {words}")
            )
    if customers < 2:
        words = (
            f"{customers} customers bought before {as_of.isoformat()}; segments need two or more. Load purchases, or "
        )
        words += "choose a later date."
        findings.append(Finding(check="too_few_customers", level="fail", rows=counted, message=words))
    if found["repeated"]:
        words = "Rows that equal an earlier one in all columns. They count; if they are not real, load each once."
        findings.append(Finding(check="repeated", level="warn", rows=found["repeated"], message=words))
    if found["future"]:
        words = f"Purchases after {moment:%Y-%m-%d %H:%M} UTC. They do not count before their date; check the clock."
        findings.append(Finding(check="future", level="warn", rows=found["future"], message=words))
    return Validation(
        table=transactions,
        as_of=as_of,
        rows=rows,
        counted=counted,
        customers=customers,
        first=_iso(found["first_time"]),
        last=_iso(found["last_time"]),
        findings=tuple(sorted(findings, key=lambda finding: finding.level)),
    )


_VALUE_CHECKS = (
    *(
        (
            f"missing_{column.name}",
            f"{column.name} IS NULL",
            f"Rows without {column.name}; complete them or leave them out.",
        )
        for column in COLUMNS
    ),
    ("negative_quantity", "quantity < 0", "Quantities below 0. Load purchases without returns, or net of them."),
    ("negative_amount", "amount < 0", "Amounts below 0. Load purchases without refunds, or net of them."),
    (
        "infinite_amount",
        f"amount < -{LARGEST_AMOUNT} OR amount > {LARGEST_AMOUNT}",
        "Amounts that are infinite or no number; correct them or leave the rows out.",
    ),
)


def _figures(warehouse: Warehouse, table: str, as_of: date, now: datetime) -> dict[str, Any]:
    """Counts of rows by what is to be known of them."""
    counts = [
        *((check, condition) for check, condition, _ in _VALUE_CHECKS),
        ("counted", f"purchased_at < TIMESTAMP '{as_of.isoformat()} 00:00:00' AND {USABLE}"),
        ("future", f"purchased_at > TIMESTAMP '{now:%Y-%m-%d %H:%M:%S}'"),
    ]
    sums = ", ".join(
        f"CAST(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) AS BIGINT) AS {name}" for name, condition in counts
    )
    names = ", ".join(column.name for column in COLUMNS)
    query = f"""
        SELECT COUNT(*) AS all_rows, {sums},
               COUNT(DISTINCT CASE WHEN {dict(counts)["counted"]} THEN {CUSTOMER} END) AS customers,
               MIN(purchased_at) AS first_time, MAX(purchased_at) AS last_time
        FROM {quote(table)}
    """  # noqa: S608 - checked names
    repeated = f"""
        SELECT CAST(COALESCE(SUM(occurrences - 1), 0) AS BIGINT) AS repeated FROM (
            SELECT COUNT(*) AS occurrences FROM {quote(table)} GROUP BY {names} HAVING COUNT(*) > 1
        ) AS groups
    """  # noqa: S608 - checked names
    found: dict[str, Any] = {}
    for sql in (query, repeated):
        for batch in warehouse.read(sql):
            found |= batch.to_pylist()[0]
    return {name: 0 if value is None and not name.endswith("_time") else value for name, value in found.items()}


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()

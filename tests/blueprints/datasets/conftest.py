from __future__ import annotations

import pytest


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty workspace of the test's own."""
    monkeypatch.setenv("BLUEPRINTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def loans_schema():
    """A small schema that has a column of every kind and every role."""
    from blueprints.datasets import parse_schema

    return parse_schema(
        """
        target: defaulted
        time: applied_at
        identifier: loan
        protected: [sex]
        columns:
          - {name: loan, kind: integer, minimum: 1}
          - {name: applied_at, kind: timestamp}
          - {name: amount, kind: number, unit: EUR, minimum: 0, maximum: 1000}
          - {name: terms, kind: integer, minimum: 1, maximum: 12, nullable: true}
          - {name: sex, kind: category, categories: [female, male]}
          - {name: guarantor, kind: category, categories: [none, person], nullable: true}
          - {name: defaulted, kind: integer, minimum: 0, maximum: 1}
        """
    )


LOANS_CSV = (
    "loan,applied_at,amount,terms,sex,guarantor,defaulted,remark\n"
    '1,2024-01-01T10:00:00Z,10.5,3,female,none,0,"a, quoted"\n'
    "2,2024-01-02T10:00:00+02:00, 20 ,,male,,1,\n"
    "3,2024-01-03,1e2,12,female,person,0,x\n"
)


@pytest.fixture
def loans_csv():
    return LOANS_CSV

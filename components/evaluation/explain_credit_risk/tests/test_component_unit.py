from __future__ import annotations

from pathlib import Path

from components.evaluation.explain_credit_risk.component import explain_credit_risk


def test_features_are_ranked_in_a_page_and_the_first_is_named(credit_chain, artifact):
    report = artifact("report")
    explain_credit_risk.python_func(credit_chain["test"], credit_chain["model"], report, rows=200)
    page = Path(report.path).read_text()
    assert report.metadata == {"most_important": "amount"}
    assert page.index(">amount</td>") < page.index(">purpose</td>")
    assert ">sex</td>" not in page

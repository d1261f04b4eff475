"""The pages of a run: what they show, and that data cannot write markup into them."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from blueprints.credit_risk.backtest import Backtest, BacktestPeriod
from blueprints.credit_risk.evaluation import evaluate
from blueprints.credit_risk.explanation import explain_model
from blueprints.credit_risk.fairness import FairnessGate, audit
from blueprints.credit_risk.reports import backtest_report, evaluation_report, explanation_report, fairness_report
from blueprints.schema import Column, TableSchema


class Page(HTMLParser):
    """Tags, attributes and table cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.cells, self._inside = [], set(), [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self._inside = tag in {"td", "th"}

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.cells.append(data)


def is_self_contained(page: Page) -> bool:
    return not set(page.tags) & {"script", "img", "link", "iframe"} and not page.attributes & {"src", "onload"}


@pytest.fixture(scope="module")
def held_out(loans_model, make_loans):
    frame = make_loans(600, 3)
    return frame, frame["defaulted"].to_numpy(), loans_model.margins(frame)


def test_the_evaluation_shows_intervals_baselines_calibration_and_decisions(loans_model, held_out):
    _, target, margins = held_out
    baselines = {"<b>other</b>": -margins}
    result = evaluate(margins, target, loans_model.policy, baselines, resamples=50)
    text = evaluation_report(result, margins, target, loans_model.policy, baselines)
    page = Page(text)
    assert is_self_contained(page)
    assert page.tags.count("svg") == 3
    assert {str(result.model.roc_auc), str(result.model.pr_auc), f"{result.brier:.4f}", f"{result.f1:.4f}"} <= set(
        page.cells
    )
    assert f"{result.brier_uncalibrated:.4f}" in page.cells
    assert "b" not in page.cells
    assert "<b>other" not in text
    for words in (f"{loans_model.policy.threshold:.4f}", "missed default costs 5", f"{result.auc_margin.value:+.4f}"):
        assert words in text
    assert f"{result.confusion[1][1]:,}" in text


@pytest.mark.parametrize(("low", "kind"), [(0.8, "good"), (-0.1, "bad")])
def test_a_margin_that_may_be_none_is_marked(loans_model, held_out, low, kind):
    _, target, margins = held_out
    result = evaluate(margins, target, loans_model.policy, {"b": -margins}, resamples=20)
    result.auc_margin = result.auc_margin.model_copy(update={"low": low})
    text = evaluation_report(result, margins, target, loans_model.policy, {"b": -margins})
    assert f'<p class="{kind}"><b>{"✓" if kind == "good" else "✗"} Over the best baseline' in text


def period(name, end=""):
    return BacktestPeriod(
        period=name, train_rows=4_000, train_end=end, test_rows=1_000, positives=0.2, roc_auc=0.71234, ks=float("nan"),
        stability_index=0.3,
    )  # fmt: skip


def test_the_backtest_has_one_row_a_period():
    dated = [period("2024-01-01", "2023-12-31T23:00:00"), period("2024-02-01", "2024-01-31T23:00:00")]
    page = Page(backtest_report(Backtest(method="rolling origin", periods=dated)))
    assert page.tags.count("tr") == 3
    assert page.tags.count("svg") == 1
    assert "last training row" in page.cells
    row = page.cells[page.cells.index("2024-02-01") :]
    assert row == ["2024-02-01", "4,000", "2024-01-31 23:00:00", "1,000", "0.2000", "0.7123", "–", "0.3000"]


def test_a_backtest_without_times_says_so_and_shows_none():
    text = backtest_report(Backtest(method="repeated hold-out", periods=[period("1"), period("2")]))
    assert "last training row" not in text
    assert "Rows have no time" in text


def judge(held_out, loans_model, schema, **limits):
    frame, _, _ = held_out
    return audit(frame, loans_model.probabilities(frame), loans_model.policy.threshold, schema, FairnessGate(**limits))


def test_the_fairness_page_says_whether_the_gate_holds(held_out, loans_model, loans_schema):
    open_gate = {"demographic_parity_difference": 1, "equalized_odds_difference": 1, "group_rows": 100}
    kept = judge(held_out, loans_model, loans_schema, **open_gate)
    text = fairness_report(kept, 0.8, None, "")
    assert "✓ Every demographic-parity difference is at most 1" in text
    assert "Mitigation" not in text
    assert Page(text).tags.count("svg") == 2
    broken = judge(held_out, loans_model, loans_schema, **{**open_gate, "demographic_parity_difference": 0})
    text = fairness_report(broken, 0.8, None, "")
    assert "✓" not in text
    for violation in broken.violations:
        assert f"✗ {violation}" in text


def test_a_gate_that_can_judge_nothing_does_not_claim_to_hold(held_out, loans_model, loans_schema):
    text = fairness_report(judge(held_out, loans_model, loans_schema, group_rows=10_000), 0.8, None, "")
    assert "✓" not in text
    assert "No column has two groups of at least 10,000 rows" in text
    assert text.count("too few rows to judge") == 6


def test_a_dataset_without_protected_columns_says_so(held_out, loans_model, loans_schema):
    text = fairness_report(
        judge(held_out, loans_model, loans_schema.model_copy(update={"protected": ()})), 0.8, None, ""
    )
    assert "describes no protected group" in text
    assert "✓" not in text


def test_names_of_columns_and_groups_cannot_write_markup(held_out, loans_model):
    frame, _, _ = held_out
    hostile = TableSchema(
        columns=(
            Column(name="g", kind="category", title="<script>t</script>", categories=("<img src=x>", r"$\frac$ & c")),
            Column(name="defaulted", kind="integer"),
        ),
        target="defaulted",
        protected=("g",),
    )
    frame = frame.assign(g=np.where(frame["sex"] == "male", "<img src=x>", r"$\frac$ & c"))
    result = judge((frame, None, None), loans_model, hostile, demographic_parity_difference=0, group_rows=1)
    page = Page(fairness_report(result, 0.8, None, ""))
    assert is_self_contained(page)
    assert {"<img src=x>", r"$\frac$ & c"} <= set(page.cells)


def test_a_dollar_in_a_feature_name_is_no_mathematics(held_out, loans_model):
    explanation = explain_model(loans_model, held_out[0], rows=50)
    named = replace(explanation, labels=("income ($)", r"$\frac$", "limit ($), in US$", "<b>"))
    text = explanation_report(named)
    assert "limit ($), in US$" in text
    assert "<b>" not in text


def test_the_explanation_ranks_the_features(held_out, loans_model):
    explanation = explain_model(loans_model, held_out[0], rows=200)
    page = Page(explanation_report(explanation))
    assert is_self_contained(page)
    assert page.cells[3:6] == [
        explanation.ranking[0].label,
        f"{explanation.ranking[0].mean_contribution:.4f}",
        f"{explanation.ranking[0].share:.4f}",
    ]
    assert page.tags.count("tr") == 5

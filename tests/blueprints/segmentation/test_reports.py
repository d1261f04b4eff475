from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from blueprints.schema import Column
from blueprints.segmentation.choose_k import choose_k
from blueprints.segmentation.matching import continue_segments, first_ids, match_centroids
from blueprints.segmentation.migration import count_moves
from blueprints.segmentation.profiles import profile
from blueprints.segmentation.reports import choice_plots, choice_report, segments_report
from tests.blueprints.credit_risk.test_reports import Page, is_self_contained

COLUMNS = (
    Column(name="income", kind="number", title="<script>$income$</script>", unit="EUR"),
    Column(name="visits", kind="number"),
)
CENTERS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


def customers(seed=0, rows=900):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, rows, p=[0.6, 0.3, 0.1])
    return CENTERS[labels] + rng.normal(size=(rows, 2)), labels


def built(points, labels, match, old=None):
    profiles = profile(points, labels, ["income", "visits"])
    centroids = np.stack([points[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return continue_segments(match(centroids, np.bincount(labels)), centroids, profiles, COLUMNS, old=old), profiles


@pytest.fixture(scope="module")
def first():
    points, labels = customers()
    segments, profiles = built(points, labels, first_ids)
    return points, labels, segments, profiles


@pytest.fixture(scope="module")
def choice(first):
    return choose_k(first[0], range(2, 6), bootstraps=2, starts=2).report


def test_the_choice_shows_every_k_and_the_chosen_segments(first, choice):
    points, labels, segments, _ = first
    assert choice.k == 3
    html = choice_report(choice, choice_plots(choice, segments, points.astype(np.float32), labels, CENTERS))
    page = Page(html)
    assert page.tags.count("svg") == 3
    assert is_self_contained(page)
    best = choice.candidate(3)
    assert {"2", "3", "4", "5", "chosen", f"{best.silhouette.value:.4f}", str(best.stability)} <= set(page.cells)
    assert page.cells.count("chosen") == 1
    assert "silhouettes of all rows" in html


def test_rivals_of_the_choice_are_named(first, choice):
    points, labels, segments, _ = first
    candidates = tuple(one.model_copy(update={"stability": None}) for one in choice.candidates)
    changes = {"rivals": (4, 5), "method": "sampled", "sampled_rows": 200, "candidates": candidates}
    report = choice.model_copy(update=changes)
    html = choice_report(report, choice_plots(report, segments, points.astype(np.float32), labels, CENTERS))
    assert "cannot be told from that of 4, 5" in html
    assert "from 200 rows against all" in html
    assert str(report.candidate(2).silhouette) in Page(html).cells
    assert "stability</span>" not in html


def test_the_segments_show_names_profiles_ids_and_moves(first):
    points, labels, old, _ = first
    later, moved = points.copy(), labels.copy()
    moved[:30] = 1
    later[:30] = CENTERS[1]
    ids = np.array(old.ids)[labels]
    matched = match_centroids(old, CENTERS, np.bincount(moved), lambda rows: rows)
    segments, profiles = built(later, moved, lambda *_: matched, old)
    migration = count_moves(
        ids, np.array(segments.ids)[moved], unchanged=np.arange(900) >= 30, dates=(date(1998, 5, 1), date(1998, 6, 1))
    )
    html = segments_report(segments, profiles, COLUMNS, matched, old=old, migration=migration)
    page = Page(html)
    assert is_self_contained(page)
    assert page.tags.count("svg") == 2
    assert set(segments.names) <= set(page.cells)
    assert page.cells.count("same name") == 3
    assert "Moves from 1998-05-01 to 1998-06-01" in html
    assert f"{migration.stayed:.1%} of the customers of both runs kept their segment." in html
    assert "Of those who bought nothing in between, 100.0% did." in html
    for move in migration.moves:
        if move.before != move.after:
            row = [old.name_of(move.before), segments.name_of(move.after), f"{move.customers:,}"]
            assert any(page.cells[place : place + 3] == row for place in range(len(page.cells)))


def test_new_and_retired_segments_are_said(first):
    points, labels, old, _ = first
    far = points + np.where(labels == 2, 500, 0)[:, None]
    match = match_centroids(old, np.stack([far[labels == label].mean(axis=0) for label in range(3)]),
                            np.bincount(labels), lambda rows: rows)  # fmt: skip
    segments, profiles = built(far, labels, lambda *_: match, old)
    cells = Page(segments_report(segments, profiles, COLUMNS, match, old=old)).cells
    assert cells.count("new") == 1
    assert f"{old.name_of(match.retired[0])}: no segment any more" in cells


def test_a_first_run_compares_with_nothing(first):
    _, labels, segments, profiles = first
    found = first_ids(CENTERS, np.bincount(labels))
    html = segments_report(segments, profiles, COLUMNS, found)
    assert "Since the last run" not in html
    assert "Moves" not in html
    assert Page(html).tags.count("svg") == 1


def test_moves_are_shown_without_new_ids_and_from_segments_that_are_gone(first):
    _, labels, segments, profiles = first
    ids = np.array(segments.ids)[labels]
    migration = count_moves(np.where(labels == 2, 9, 3), ids)
    html = segments_report(segments, profiles, COLUMNS, migration=migration, names_before={9: "gone", 3: "known"})
    assert "Since the last run" not in html
    assert {"gone", "known"} <= set(Page(html).cells)
    nobody = count_moves(np.full(900, 9), ids, unchanged=np.ones(900, bool))
    html = segments_report(segments, profiles, COLUMNS, migration=nobody, names_before={9: "gone"})
    assert "0.0% of the customers of both runs kept their segment." in html
    assert "Of those who bought nothing in between, 0.0% did." in html


def test_a_sample_is_called_one(first):
    points, labels, segments, _ = first
    html = segments_report(segments, profile(points[:50], labels[:50], ["income", "visits"], 3), COLUMNS)
    assert "From a sample of 50 customers." in html
    assert "900 customers in 3 segments." in html


def test_titles_cannot_write_markup(first):
    _, labels, segments, profiles = first
    html = segments_report(segments, profiles, COLUMNS, first_ids(CENTERS, np.bincount(labels)))
    assert "<script" not in html
    assert "&lt;script&gt;$income$" in html

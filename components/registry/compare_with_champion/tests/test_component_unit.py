from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from components.registry.compare_with_champion.component import compare_with_champion

pytestmark = pytest.mark.usefixtures("in_registry_home")


@pytest.fixture
def compare(credit_chain, credit_package, artifact):
    def run(**parameters):
        metrics, reason = artifact("metrics"), artifact("reason")
        promote = compare_with_champion.python_func(
            credit_chain["test"], credit_package, metrics, reason.path, **parameters
        )
        return promote, metrics, Path(reason.path).read_text()

    return run


def test_without_a_champion_the_minimum_decides(compare):
    promote, metrics, reason = compare(registered_model="none-yet", minimum_auc=0.6)
    assert promote is True
    assert reason.startswith("no champion yet")
    assert (metrics.metadata, metrics.logged) == ({"reason": reason}, {})
    assert compare(registered_model="none-yet", minimum_auc=0.99)[0] is False


def test_a_champion_is_fetched_and_compared_on_the_same_rows(compare, credit_package):
    registry = Registry()
    champion = registry.log_and_register("has-champion", open_package(Path(credit_package.path)), reports={})
    registry.promote(champion, by="a test", reason="first")
    promote, metrics, reason = compare(registered_model="has-champion")
    assert promote is True
    assert metrics.logged == {"roc_auc_difference": 0, "roc_auc_difference_low": 0, "cost_difference": 0}
    assert "it is the champion already" in reason

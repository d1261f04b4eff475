from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from components.registry.compare_text_classifiers.component import compare_text_classifiers

pytestmark = pytest.mark.usefixtures("in_registry_home")


@pytest.fixture
def compare(text_chain, text_package, artifact):
    def run(**parameters):
        metrics, reason = artifact("metrics"), artifact("reason")
        promote = compare_text_classifiers.python_func(
            text_chain["test"], text_package, metrics, reason.path, **parameters
        )
        return promote, metrics, Path(reason.path).read_text()

    return run


def test_without_a_champion_the_minimum_decides(compare, text_chain):
    promote, metrics, reason = compare(registered_model="no-texts-yet")
    assert promote is True
    assert reason.startswith("no champion yet")
    assert metrics.metadata == {"reason": reason}
    assert metrics.logged == {"accuracy": text_chain["metrics"].logged["accuracy"]}
    assert compare(registered_model="no-texts-yet", minimum_accuracy=0.99)[0] is False


def test_a_champion_is_fetched_and_compared_on_the_same_rows(compare, text_package):
    registry = Registry()
    champion = registry.log_and_register("text-champion", open_package(Path(text_package.path)), reports={})
    registry.promote(champion, by="a test", reason="first")
    promote, metrics, reason = compare(registered_model="text-champion")
    assert promote is True
    assert (metrics.logged["accuracy_difference"], metrics.logged["accuracy_difference_low"]) == (0, 0)
    assert "it is the champion already" in reason


def test_the_champion_of_another_blueprint_cannot_be_compared(compare, credit_package):
    registry = Registry()
    champion = registry.log_and_register("mixed-up", open_package(Path(credit_package.path)), reports={})
    registry.promote(champion, by="a test", reason="first")
    promote, _, reason = compare(registered_model="mixed-up")
    assert promote is False
    assert "cannot be compared" in reason

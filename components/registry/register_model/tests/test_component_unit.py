from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import CHALLENGER, CHAMPION, Registry
from components.registry.register_model.component import register_model

pytestmark = pytest.mark.usefixtures("in_registry_home")


@pytest.fixture
def pages(artifact):
    made = [artifact(name) for name in ("evaluation", "backtest", "fairness", "explanation")]
    for page in made:
        Path(page.path).write_text(f"<h1>{Path(page.path).name} é</h1>", encoding="utf-8")
    return made


def test_the_package_becomes_challenger_and_no_champion(credit_package, pages, registry_home):
    assert register_model.python_func(credit_package, *pages, registered_model="registered") == "1"
    registry = Registry()
    assert registry.by_alias("registered", CHALLENGER).package_version == credit_package.metadata["package_version"]
    assert registry.by_alias("registered", CHAMPION) is None
    for name in ("evaluation", "backtest", "fairness", "explanation"):
        kept = {page.read_text(encoding="utf-8") for page in registry_home.rglob(f"reports/{name}.html")}
        assert f"<h1>{name} é</h1>" in kept


def test_a_repeated_step_registers_nothing_new(credit_package, pages):
    numbers = [register_model.python_func(credit_package, *pages, registered_model="repeated") for _ in range(2)]
    assert numbers == ["1", "1"]


def test_a_blueprint_with_fewer_pages_registers_those_that_it_has(text_package, pages, registry_home):
    assert register_model.python_func(text_package, pages[0], registered_model="one-page") == "1"
    run = Registry().by_alias("one-page", CHALLENGER).run_id
    kept = {page.name for page in registry_home.rglob(f"{run}/artifacts/reports/*.html")}
    assert kept == {"evaluation.html"}

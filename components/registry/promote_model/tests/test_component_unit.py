from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.governance.registry import CHAMPION, Registry, RegistryError
from blueprints.model_package import open_package
from components.registry.promote_model.component import promote_model

pytestmark = pytest.mark.usefixtures("in_registry_home")


def test_the_alias_moves_once_and_the_log_says_by_whom(credit_package):
    registry = Registry()
    model = registry.log_and_register("promoted", open_package(Path(credit_package.path)), reports={})
    for _ in range(2):
        version = promote_model.python_func(model.number, "it is better", "a test", registered_model="promoted")
        assert version == model.package_version
    assert registry.by_alias("promoted", CHAMPION) == model
    (line,) = (line for line in registry.promotions() if line.name == "promoted")
    assert (line.by, line.reason) == ("a test", "it is better")


def test_an_unknown_version_is_refused():
    with pytest.raises(RegistryError, match="no version '7' of model 'unknown'"):
        promote_model.python_func("7", "why", "a test", registered_model="unknown")

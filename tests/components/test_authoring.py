from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from kfp import compiler

from components import authoring
from components.authoring import AuthoringError, check, folders, new, write_readmes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path):
    """A project of its own with one new component."""
    root = tmp_path / "components"
    root.mkdir()
    for name in ("components/__init__.py", "components/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    new("data", "count_rows", root)
    return root


def edit(root, file, old, new_text):
    path = root / "data" / "count_rows" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new_text))


def test_all_components_are_complete():
    assert check() == []


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_every_component_compiles_and_carries_no_decorator_and_installs_nothing(folder, tmp_path):
    module = import_module(".".join((*folder.parts[-3:], "component")))
    compiler.Compiler().compile(getattr(module, folder.name), str(tmp_path / "component.yaml"))
    text = (tmp_path / "component.yaml").read_text()
    assert "@component" not in text
    assert "pip install" not in text
    needs_torch = folder.name in {"finetune_text_classifier", "distill_text_classifier"}
    assert f"image: ml-deployment-blueprints/{'finetuning' if needs_torch else 'jobs'}:" in text


def test_a_new_component_is_complete_and_passes_its_own_tests(root):
    assert check(root) == []
    environment = {**os.environ, "PYTHONPATH": f"{root.parent}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "pytest", "components"]
    done = subprocess.run(command, cwd=root.parent, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("category", "name", "message"),
    [
        ("data", "count_rows", "there already"),
        ("data", "Count-Rows", "no component name"),
        ("misc", "x", "no category"),
    ],
)
def test_a_component_that_cannot_be_is_refused(category, name, message, root):
    with pytest.raises(AuthoringError, match=message):
        new(category, name, root)


@pytest.mark.parametrize(
    ("file", "old", "new_text", "problem"),
    [
        ("component.py", "from components", "import pandas\nfrom components", "imports 'pandas' at the top"),
        ("component.py", "from components", "from .. import x\nfrom components", "imports '..' at the top"),
        ("component.py", "def count_rows", "def other", "folder and function share one name"),
        ("component.py", "        share: Share", "        other: Share", "Args lack share"),
        ("component.py", "Says in one sentence", "Says otherwise", r"README\.md is not up to date"),
        ("component.py", "@component", "", "expected one function decorated with @component, found 0"),
        ("component.py", "def count_rows(", "def count_rows((", "invalid syntax"),
        ("metadata.yaml", "tags: [data]", "", "tags: Field required"),
        ("metadata.yaml", "name: count_rows", "name: other", "names it 'other'"),
        ("metadata.yaml", "[data]", "[dataa]", "the extra 'dataa', which pyproject"),
        ("metadata.yaml", "stability: alpha", "stability: new", "stability: Input should be"),
    ],
)
def test_a_component_that_lacks_something_is_named(file, old, new_text, problem, root):
    edit(root, file, old, new_text)
    assert any(problem.replace("\\", "") in line for line in check(root))


@pytest.mark.parametrize("test", ["test_component_unit.py", "test_component_local.py"])
def test_a_component_without_tests_is_named(test, root):
    (root / "data" / "count_rows" / "tests" / test).unlink()
    assert check(root) == [f"{root / 'data' / 'count_rows'}: tests/{test} is missing"]


def test_readmes_follow_the_source(root):
    edit(root, "component.py", "share: float = 0.5", "share: float = 0.25")
    assert write_readmes(root) == [root / "data" / "count_rows" / "README.md"]
    assert "| `share` | `float` | `0.25` | Share of the rows to count, 0 to 1. |" in readme(root)
    assert write_readmes(root) == []
    assert check(root) == []


def readme(root):
    return (root / "data" / "count_rows" / "README.md").read_text()


def test_returned_parameters_are_outputs_in_the_readme(root):
    returns = 'NamedTuple("Outputs", [("good", bool), ("reason", str)])'
    edit(root, "component.py", "-> None", f"-> {returns}")
    write_readmes(root)
    assert "| `good` | `bool` |" in readme(root)
    assert "| `reason` | `str` |" in readme(root)


def test_the_command_says_what_is_wrong_by_its_exit_code(root, monkeypatch, capsys):
    monkeypatch.setattr(authoring, "check", lambda: check(root))
    assert authoring.main(["check"]) == 0
    (root / "data" / "count_rows" / "README.md").unlink()
    assert authoring.main(["check"]) == 1
    assert "README.md is not up to date" in capsys.readouterr().out
    assert authoring.main(["new", "data", "Bad-Name"]) == 1
    assert "no component name" in capsys.readouterr().err

"""Authoring of components: scaffold a new one, generate READMEs, check what a component must have.

python -m components.authoring new data deduplicate_rows
python -m components.authoring readme
python -m components.authoring check
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import docstring_parser
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROOT = Path(__file__).parent
CATEGORIES = ("data", "training", "evaluation", "registry", "deployment", "monitoring")
# What may stand at the top of a component.py beside the standard library: its imports run in the authoring process.
ALLOWED_AT_TOP = sys.stdlib_module_names | {"kfp", "components"}
# What makes a function a component, from `components/__init__.py`.
DECORATORS = ("component", "finetuning_component")

_NAME = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")
_ARTIFACT = re.compile(r"^(?:dsl\.)?(Input|Output)\[(?:dsl\.)?(.+)\]$")


class AuthoringError(Exception):
    """A component cannot be made or read as asked."""


class Metadata(BaseModel):
    """`metadata.yaml` of a component.

    Attributes:
        name: Name of the component, its function and its folder.
        stability: How much its interface may still change.
        dependencies: Extras of this project that its image needs.
        tags: Words to find it by.
        last_verified: Day of the last run on a real pipeline (`lastVerified` in the file).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stability: Literal["alpha", "beta", "stable"]
    dependencies: tuple[str, ...] = Field(min_length=1)
    tags: tuple[str, ...] = Field(min_length=1)
    last_verified: date = Field(alias="lastVerified")


@dataclass(frozen=True)
class Component:
    """A component as its source describes it; nothing of it is imported.

    Attributes:
        folder: `components/<category>/<name>`.
        function: The decorated function.
        imports: Modules that are imported outside of it.
    """

    folder: Path
    function: ast.FunctionDef
    imports: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Component:
        """Parses `component.py`.

        Raises:
            AuthoringError: It is no Python, or has not exactly one function decorated with `@component`.
        """
        file = folder / "component.py"
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (OSError, SyntaxError) as error:
            raise AuthoringError(f"{file}: {error}") from error
        functions = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and any(isinstance(mark, ast.Name) and mark.id in DECORATORS for mark in node.decorator_list)
        ]
        if len(functions) != 1:
            raise AuthoringError(f"{file}: expected one function decorated with @component, found {len(functions)}")
        return cls(folder, functions[0], tuple(_imports(tree)))

    def metadata(self) -> Metadata:
        """`metadata.yaml`, checked.

        Raises:
            AuthoringError: It is missing or incomplete.
        """
        file = self.folder / "metadata.yaml"
        try:
            return Metadata.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError) as error:
            raise AuthoringError(f"{file}: {error}") from error
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise AuthoringError(f"{file}: {problems}") from error

    def readme(self) -> str:
        """The README, from the docstring, the signature and the metadata."""
        metadata = self.metadata()
        doc = docstring_parser.parse(ast.get_docstring(self.function) or "", docstring_parser.DocstringStyle.GOOGLE)
        words = {parameter.arg_name: " ".join((parameter.description or "").split()) for parameter in doc.params}
        inputs, outputs = [], []
        for name, annotation, default in _parameters(self.function):
            artifact = _ARTIFACT.match(annotation)
            kind = artifact[2] if artifact else annotation
            if artifact and artifact[1] == "Output":
                outputs.append(f"| `{name}` | `{kind}` | {words.get(name, '')} |")
            else:
                inputs.append(f"| `{name}` | `{kind}` | {default} | {words.get(name, '')} |")
        outputs.extend(f"| `{name}` | `{kind}` | {_returned(doc)} |" for name, kind in _returns(self.function))
        module = ".".join((*self.folder.parts[-3:], "component"))
        sections = [f"# {self.function.name}", doc.short_description or "", doc.long_description or ""]
        if inputs:
            table = ["| name | type | default | meaning |", "|---|---|---|---|", *inputs]
            sections += ["## Inputs", "\n".join(table)]
        if outputs:
            table = ["| name | type | meaning |", "|---|---|---|", *outputs]
            sections += ["## Outputs", "\n".join(table)]
        sections += [
            "## Use",
            f"```python\nfrom {module} import {self.function.name}\n```",
            _footer(metadata),
            "<!-- Generated by `python -m components.authoring readme`; edit the docstring instead. -->",
        ]
        return "\n\n".join(section for section in sections if section) + "\n"

    def problems(self, extras: frozenset[str]) -> Iterator[str]:
        """What the component lacks, one line each.

        Args:
            extras: Extras that `pyproject.toml` defines.
        """
        name = self.function.name
        if name != self.folder.name:
            yield f"{self.folder}: the function is named {name!r}; folder and function share one name"
        for module in self.imports:
            if module.partition(".")[0] not in ALLOWED_AT_TOP:
                yield f"{self.folder}: imports {module!r} at the top; import it inside the function"
        doc = docstring_parser.parse(ast.get_docstring(self.function) or "", docstring_parser.DocstringStyle.GOOGLE)
        if not doc.short_description:
            yield f"{self.folder}: the function has no docstring"
        documented = {parameter.arg_name for parameter in doc.params if parameter.description}
        undocumented = [parameter for parameter, _, _ in _parameters(self.function) if parameter not in documented]
        if undocumented:
            yield f"{self.folder}: the docstring's Args lack {', '.join(undocumented)}"
        for test in ("test_component_unit.py", "test_component_local.py"):
            if not (self.folder / "tests" / test).is_file():
                yield f"{self.folder}: tests/{test} is missing"
        try:
            metadata = self.metadata()
        except AuthoringError as error:
            yield str(error)
            return
        if metadata.name != name:
            yield f"{self.folder}: metadata.yaml names it {metadata.name!r}"
        for extra in sorted(set(metadata.dependencies) - extras):
            yield f"{self.folder}: metadata.yaml depends on the extra {extra!r}, which pyproject.toml does not define"
        readme = self.folder / "README.md"
        if not readme.is_file() or readme.read_text(encoding="utf-8") != self.readme():
            yield f"{self.folder}: README.md is not up to date; run `python -m components.authoring readme`"


def folders(root: Path = ROOT) -> list[Path]:
    """Folders of all components, in order."""
    return sorted(file.parent for file in root.glob("*/*/component.py"))


def check(root: Path = ROOT) -> list[str]:
    """Problems of all components, one line each; empty if there are none."""
    project = tomllib.loads((root.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = frozenset(project["optional-dependencies"])
    found = []
    for folder in folders(root):
        try:
            found += list(Component.read(folder).problems(extras))
        except AuthoringError as error:
            found.append(str(error))
    return found


def write_readmes(root: Path = ROOT) -> list[Path]:
    """Writes the README of every component; returns those that changed.

    Raises:
        AuthoringError: A component cannot be read.
    """
    changed = []
    for folder in folders(root):
        readme, text = folder / "README.md", Component.read(folder).readme()
        if not readme.is_file() or readme.read_text(encoding="utf-8") != text:
            readme.write_text(text, encoding="utf-8")
            changed.append(readme)
    return changed


def new(category: str, name: str, root: Path = ROOT) -> Path:
    """Makes the folder of a new component that runs and passes its tests.

    Args:
        category: One of `CATEGORIES`.
        name: Function and folder name, lower case with underscores: what it does, to what.
        root: The folder `components`.

    Raises:
        AuthoringError: The name or category cannot be, or the component is there already.
    """
    if category not in CATEGORIES:
        raise AuthoringError(f"there is no category {category!r}; there are {', '.join(CATEGORIES)}")
    if not _NAME.match(name):
        raise AuthoringError(f"{name!r} is no component name; use lower case with underscores: 'deduplicate_rows'")
    folder = root / category / name
    if folder.exists():
        raise AuthoringError(f"{folder} is there already")
    (folder / "tests").mkdir(parents=True)
    for file, template in _TEMPLATES.items():
        text = template.format(
            category=category, name=name, kebab=name.replace("_", "-"), today=datetime.now(tz=UTC).date().isoformat()
        )
        (folder / file).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(Component.read(folder).readme(), encoding="utf-8")
    return folder


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def _parameters(function: ast.FunctionDef) -> Iterator[tuple[str, str, str]]:
    """Name, annotation and default (Markdown) of every parameter."""
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults = [None] * (len(positional) - len(function.args.defaults)) + list(function.args.defaults)
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    for parameter, default in [*zip(positional, defaults, strict=True), *keywords]:
        annotation = ast.unparse(parameter.annotation) if parameter.annotation else ""
        yield parameter.arg, annotation, "required" if default is None else f"`{ast.unparse(default)}`"


def _returns(function: ast.FunctionDef) -> list[tuple[str, str]]:
    """Name and type of every returned parameter."""
    node = function.returns
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return []
    if isinstance(node, ast.Call) and len(node.args) == 2 and isinstance(node.args[1], ast.List):
        pairs = [pair for pair in node.args[1].elts if isinstance(pair, ast.Tuple)]
        return [(str(ast.literal_eval(pair.elts[0])), ast.unparse(pair.elts[1])) for pair in pairs]
    return [("Output", ast.unparse(node))]


def _footer(metadata: Metadata) -> str:
    facts = {
        "Stability": metadata.stability,
        "Needs the extras": ", ".join(metadata.dependencies),
        "Tags": ", ".join(metadata.tags),
        "Last verified": metadata.last_verified.isoformat(),
    }
    return " ".join(f"{name}: {fact}." for name, fact in facts.items())


def _returned(doc: docstring_parser.Docstring) -> str:
    return " ".join((doc.returns.description or "").split()) if doc.returns else ""


_TEMPLATES = {
    "component.py": '''\
"""{name}."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components import component


@component
def {name}(snapshot: Input[Dataset], metrics: Output[Metrics], share: float = 0.5) -> None:
    """Says in one sentence what it does.

    Args:
        snapshot: Folder of a snapshot.
        metrics: Rows that were counted.
        share: Share of the rows to count, 0 to 1.
    """
    from pathlib import Path

    from blueprints.datasets import read_snapshot

    metrics.log_metric("rows", round(share * read_snapshot(Path(snapshot.path)).info.rows))
''',
    "metadata.yaml": """\
name: {name}
stability: alpha
dependencies: [data]
tags: [{category}]
lastVerified: {today}
""",
    "tests/test_component_unit.py": """\
from __future__ import annotations

from types import SimpleNamespace

from blueprints.datasets import FileDataset, parse_schema, write_snapshot
from components.{category}.{name}.component import {name}

SCHEMA = "{{target: y, columns: [{{name: x, kind: number}}, {{name: y, kind: integer}}]}}"


def test_rows_are_counted(tmp_path):
    (tmp_path / "own.csv").write_text("x,y\\n1,0\\n2,1\\n")
    write_snapshot(FileDataset(str(tmp_path / "own.csv"), parse_schema(SCHEMA)), tmp_path / "snapshot")
    logged = {{}}
    metrics = SimpleNamespace(log_metric=logged.__setitem__)
    {name}.python_func(SimpleNamespace(path=str(tmp_path / "snapshot")), metrics)
    assert logged == {{"rows": 1}}
""",
    "tests/test_component_local.py": """\
from __future__ import annotations

from kfp import dsl

from blueprints.datasets import FileDataset, parse_schema, write_snapshot
from components.{category}.{name}.component import {name}

SCHEMA = "{{target: y, columns: [{{name: x, kind: number}}, {{name: y, kind: integer}}]}}"


def test_it_runs_as_a_process(run_locally, tmp_path):
    (tmp_path / "own.csv").write_text("x,y\\n1,0\\n2,1\\n")
    write_snapshot(FileDataset(str(tmp_path / "own.csv"), parse_schema(SCHEMA)), tmp_path / "snapshot")

    @dsl.pipeline
    def run():
        snapshot = dsl.importer(artifact_uri=str(tmp_path / "snapshot"), artifact_class=dsl.Dataset)
        {name}(snapshot=snapshot.output)

    run()
    assert list((tmp_path / "runs").glob("*/{kebab}"))
""",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.authoring", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    scaffold = commands.add_parser("new", help="make a new component")
    scaffold.add_argument("category", choices=CATEGORIES)
    scaffold.add_argument("name")
    commands.add_parser("readme", help="write all READMEs")
    commands.add_parser("check", help="say what components lack")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "new":
            lines = [f"made {new(chosen.category, chosen.name)}"]
        elif chosen.command == "readme":
            lines = [f"wrote {path}" for path in write_readmes()]
        else:
            lines = check()
            if not lines:
                sys.stdout.write(f"{len(folders())} components are complete\n")
    except AuthoringError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if chosen.command == "check" and lines else 0


if __name__ == "__main__":
    sys.exit(main())

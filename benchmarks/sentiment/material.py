"""What is measured: models trained by the project's own code, packaged, and texts to send. Made once, kept by hash."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.sentiment.baseline import TOKENIZER
from benchmarks.sentiment.environments import finetuning_python, version_in, web_packages
from benchmarks.servers import PROJECT
from blueprints.workspace import Workspace

if TYPE_CHECKING:
    from blueprints.datasets.split import Split
    from blueprints.schema import TableSchema

Progress = Callable[[str], None]

SEED = 7
DATASET, MIX = "film_sentences", "sentences"
TEACHER, STUDENT = "teacher", "student"
PARTS = ("train", "validation", "test")
_ENCODER = "encoder"
_METHODS: Mapping[str, Literal["finetuned", "distilled"]] = {TEACHER: "finetuned", STUDENT: "distilled"}
# What training imports and its weights do not depend on: the graph is written anew, with all that comes after it.
_AFTERWARDS = {"encoder_graph", "text_model", "text_reader"}
_TEXTS = 2_000
_SHORT_CHARACTERS = 60
_LONG_TOKENS = 200


@dataclass(frozen=True)
class Material:
    """Everything that the measurements need.

    Attributes:
        folder: Where it lies: snapshots `train`, `validation`, `test`, a folder a model, packages, texts.
        python: Interpreter of the environment with torch.
        web: Folder with FastAPI and uvicorn for it.
    """

    folder: Path
    python: Path
    web: Path

    @property
    def teacher(self) -> Path:
        """Model package of the teacher in int8, or in fp32 if int8 loses too much."""
        return self.folder / "teacher-package"

    @property
    def student(self) -> Path:
        """Model package of the student."""
        return self.folder / "student-package"

    @property
    def weights(self) -> Path:
        """The teacher as torch reads it, see `benchmarks.sentiment.baseline`."""
        return self.folder / TEACHER / _ENCODER

    @property
    def texts(self) -> Path:
        """Requests, one a line, in the natural mix of lengths."""
        return self.folder / "texts.jsonl"

    @property
    def short_texts(self) -> Path:
        """Requests with short texts."""
        return self.folder / "short.jsonl"

    @property
    def long_texts(self) -> Path:
        """Requests with texts of about 200 tokens."""
        return self.folder / "long.jsonl"

    @property
    def words(self) -> Mapping[Path, str]:
        """What the texts are, for people."""
        return {
            self.texts: f"{_TEXTS:,} held-out sentences of films, products, tweets and news in turn",
            self.short_texts: f"sentences of at most {_SHORT_CHARACTERS} characters",
            self.long_texts: f"news of {_LONG_TOKENS} tokens",
        }


def prepare(workspace: Workspace, progress: Progress) -> Material:
    """Trains, packages and writes texts; weights trained in this workspace with the same rows and code are kept.

    Raises:
        RuntimeError: The environment with torch cannot be made, or a training failed.
    """
    from blueprints import datasets

    progress("the environment with torch (make finetuning)")
    home = workspace.root / "benchmarks"
    python = finetuning_python()
    web = web_packages(home / "web-packages", python)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        progress("splitting the sentences")
        datasets.write_snapshot(datasets.get(DATASET), Path(scratch))
        snapshot = datasets.read_snapshot(Path(scratch))
    split = datasets.split(snapshot.frame, snapshot.schema, **_shares(), seed=SEED)
    key = training_key(split, snapshot.schema, version_in(python, "torch"))
    material = Material(home / f"sentiment-{key}", python, web)
    trained = material.folder / "trained"
    if not trained.is_file():
        for part in PARTS:
            snapshot.write_part(getattr(split, part), part, material.folder / part)
        _train(material, progress)
        trained.touch()
    progress("quantizing, evaluating and packaging both models")
    _package(material)
    _write_texts(material)
    return material


def training_key(split: Split, schema: TableSchema, torch: str) -> str:
    """Hash of all that decides the trained weights: rows of each part, training code with its defaults, torch."""
    digest = hashlib.sha256(f"{schema.model_dump_json()} {torch} {SEED}".encode())
    for part in PARTS:
        digest.update(f"\n{part}\n{getattr(split, part).to_csv(index=False)}".encode())
    for file in training_code(PROJECT):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def training_code(project: Path) -> list[Path]:
    """The modules that decide the trained weights: what the training script imports of the blueprint, on and on."""
    found: set[Path] = set()
    waiting = [project / "benchmarks" / "sentiment" / "training.py"]
    while waiting:
        file = waiting.pop()
        found.add(file)
        names = set(re.findall(r"^ *from blueprints\.sentiment\.(\w+) import", file.read_text(), re.MULTILINE))
        files = {project / "blueprints" / "sentiment" / f"{name}.py" for name in names - _AFTERWARDS}
        waiting += files - found
    return sorted(found)


def _shares() -> dict[str, float]:
    """Shares of the rows that the pipeline holds out."""
    from pipelines import load

    inputs = load("sentiment").component_spec.inputs
    return {name: inputs[name].default for name in ("test_share", "validation_share")}


def _train(material: Material, progress: Progress) -> None:
    """Teacher and student, in the environment with torch; goes on where an earlier run was interrupted."""
    from blueprints.progress import parse_progress

    material.folder.mkdir(parents=True, exist_ok=True)
    command = [str(material.python), "-m", "benchmarks.sentiment.training", str(material.folder)]
    log = material.folder / "training.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        ) as process,
    ):
        for line in process.stdout or ():
            out.write(line)
            step = parse_progress(line)
            if step is not None:
                progress("training: {} of {} {}".format(*step))
    if process.returncode:
        raise RuntimeError(f"the training failed; see {log}: {log.read_text()[-800:]}")


def _package(material: Material) -> None:
    """Quantizes, evaluates and packages the trained models as the pipeline does."""
    from blueprints.datasets import read_snapshot
    from blueprints.sentiment.baselines import baseline_scores
    from blueprints.sentiment.classifier import TextClassifier
    from blueprints.sentiment.evaluation import evaluate
    from blueprints.sentiment.examples import Examples
    from blueprints.sentiment.packaging import package_model
    from blueprints.sentiment.robustness import measure_robustness
    from blueprints.sentiment.served_model import prepare_for_serving

    snapshots = [read_snapshot(material.folder / part) for part in PARTS]
    fitting, choosing, held_out = (Examples.of(part.frame, part.schema) for part in snapshots)
    baselines = baseline_scores(fitting, choosing, held_out, seed=SEED)
    for name, package in ((TEACHER, material.teacher), (STUDENT, material.student)):
        write_graph(material.folder / name, fitting.names, _METHODS[name])
        served = material.folder / f"{name}-served"
        prepare_for_serving(material.folder / name, choosing, served)
        classifier = TextClassifier.open(served, threads=2)
        probabilities = classifier.classify(held_out.texts)
        robustness = measure_robustness(held_out, probabilities, classifier.classify, rows=50, seed=SEED)
        evaluation = evaluate(held_out, probabilities, baselines, robustness, resamples=50, seed=SEED)
        (material.folder / f"{name}-evaluation.json").write_text(evaluation.model_dump_json())
        shutil.rmtree(package, ignore_errors=True)
        package_model(package, served, snapshots[0], evaluation, pipeline_run="benchmark", seed=SEED)


def write_graph(folder: Path, labels: tuple[str, ...], method: Literal["finetuned", "distilled"]) -> None:
    """Writes the text model anew from the trained encoder, as `Trained.save` does where torch is."""
    from blueprints.sentiment.encoder import Encoder
    from blueprints.sentiment.encoder_graph import encoder_graph, write_text_model
    from blueprints.sentiment.text_model import TextModelConfig

    encoder = Encoder.load(folder / _ENCODER)
    shape = encoder.config
    config = TextModelConfig(labels=labels, pad_id=shape.pad_token_id, layers=shape.num_hidden_layers, method=method)
    write_text_model(folder, encoder_graph(encoder), encoder.tokenizer, config)


def _write_texts(material: Material) -> None:
    """Texts to send, of all sources and held out, each as the body of a request."""
    from tokenizers import Tokenizer

    from blueprints import datasets

    dataset = datasets.get(MIX)
    held_out = datasets.split(dataset.load(), dataset.schema, seed=SEED).test
    rows = list(zip(held_out["text"].astype(str), held_out["source"].astype(str), strict=True))
    random.Random(SEED).shuffle(rows)  # noqa: S311
    texts = [text for text, _ in rows]
    news = [text for text, source in rows if source == "news"]
    tokenizer = Tokenizer.from_file(str(material.folder / TEACHER / TOKENIZER))
    long: list[str] = []
    text = ""
    for sentence in news:
        text = f"{text} {sentence}".strip()
        encoding = tokenizer.encode(text, add_special_tokens=False)
        if len(encoding.ids) >= _LONG_TOKENS - 2:
            long.append(text[: encoding.offsets[_LONG_TOKENS - 3][1]])
            text = ""
    short = [text for text in texts if len(text) <= _SHORT_CHARACTERS]
    for file, kept in ((material.texts, texts[:_TEXTS]), (material.short_texts, short), (material.long_texts, long)):
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in kept))

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = [
    ROOT / "inference_services/credit_risk/Dockerfile",
    ROOT / "components/Dockerfile",
    ROOT / "inference_services/credit_risk/alibi.Dockerfile",
    ROOT / "inference_services/segmentation/Dockerfile",
    ROOT / "inference_services/sentiment/Dockerfile",
    ROOT / "inference_services/sentiment/edge.Dockerfile",
]
UID = 10001

each = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.relative_to(ROOT).as_posix())


def instructions(dockerfile):
    """Instruction and its words, with continued lines joined and comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def of(dockerfile, name):
    return [rest for instruction, rest in instructions(dockerfile) if instruction == name]


@each
def test_every_path_that_is_copied_exists(dockerfile):
    sources = [source for rest in of(dockerfile, "COPY") if "--from=" not in rest for source in shlex.split(rest)[:-1]]
    assert sources
    for source in sources:
        assert list(ROOT.glob(source.rstrip("/"))), f"{source}: no such path"


@each
def test_only_locked_requirements_with_hashes_are_installed(dockerfile):
    installs = [part for rest in of(dockerfile, "RUN") for part in rest.split("&&") if "pip install" in part]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    lock = ROOT / re.search(r"-r /(locks/\S+)", installs[0])[1]
    requirements = [line for line in lock.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line)]
    assert requirements
    assert all(re.match(r"[A-Za-z0-9_.-]+==[^ ]+ ", line) for line in requirements)
    assert lock.read_text().count("--hash=sha256:") >= len(requirements)


@each
def test_the_image_runs_as_the_user_that_the_manifests_name(dockerfile):
    assert of(dockerfile, "USER")[-1] == f"{UID}:{UID}"
    for manifest in (ROOT / "manifests").rglob("*.yaml"):
        assert set(re.findall(r"runAs(?:User|Group): (\d+)", manifest.read_text())) <= {str(UID)}


@each
def test_no_registry_is_named_and_no_tag_moves(dockerfile):
    bases = [rest.split("=")[1] for rest in of(dockerfile, "ARG") if "=" in rest]
    for base in bases:
        assert "." not in base.split("/")[0].split(":")[0], f"{base}: names a registry"
        assert ":" in base
        assert not base.endswith(":latest")
    assert not re.search(r"https?://|--(?:extra-)?index-url", dockerfile.read_text())


@pytest.mark.parametrize("name", ["Dockerfile", "finetuning.Dockerfile"])
def test_images_of_steps_know_the_commit_that_they_were_built_from(name):
    last = [rest for _, rest in instructions(ROOT / "components" / name)]
    assert last[-3:] == ["GIT_COMMIT", "GIT_COMMIT=$GIT_COMMIT", "10001:10001"]
    assert '--build-arg GIT_COMMIT="$(git rev-parse HEAD)"' in (ROOT / "components" / name).read_text()


def test_the_serving_image_binds_all_addresses_and_starts_a_server():
    dockerfile = DOCKERFILES[0]
    assert "BIND_HOST=0.0.0.0" in of(dockerfile, "ENV")[0]
    command = json.loads(of(dockerfile, "CMD")[0])
    assert (ROOT / command[-1].replace(".", "/")).with_suffix(".py").is_file()


def test_the_serving_image_is_free_of_torch_and_of_training_code():
    lock = (ROOT / "locks/serving.txt").read_text()
    for package in ("torch", "mlflow", "optuna", "shap", "kfp"):
        assert not re.search(rf"^{package}==", lock, re.MULTILINE), package


def test_the_serving_image_holds_all_code_that_its_servers_import(tmp_path):
    for rest in of(DOCKERFILES[0], "COPY"):
        *sources, target = shlex.split(rest)
        if "--from=" in rest or target.startswith("/"):
            continue
        for path in (path for source in sources for path in ROOT.glob(source.rstrip("/"))):
            if path.is_dir():
                shutil.copytree(path, tmp_path / target, dirs_exist_ok=True)
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / target)
    servers = ", ".join(f"inference_services.credit_risk.{role}" for role in ("predictor", "transformer", "explainer"))
    done = subprocess.run(
        [sys.executable, "-c", f"import {servers}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr

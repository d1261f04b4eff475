from __future__ import annotations

import pytest
from pydantic import BaseModel

from blueprints.datasets import SnapshotInfo
from blueprints.sentiment.checkpoints import kept_checkpoints


class Config(BaseModel):
    epochs: float = 3.0


def part(letter="a"):
    return SnapshotInfo(
        name="reviews", version="1", part="train", rows=9, sha256=letter * 64, schema_sha256="c" * 64, source="a shop",
        licence="CC BY 4.0", created_from="d" * 64,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("BLUEPRINTS_HOME", str(tmp_path / "home"))


@pytest.fixture
def teacher(tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "weights").write_text("weights")
    return tmp_path / "encoder"


def test_a_training_that_failed_finds_its_state_and_one_that_ended_leaves_none():
    places = []

    def fail():
        with kept_checkpoints(Config(), (part(),)) as folder:
            places.append(folder)
            (folder / "state.json").write_text("{}")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    with kept_checkpoints(Config(), (part(),)) as again:
        assert [again] == places
        assert (again / "state.json").is_file()
    assert not again.exists()


def test_another_training_has_another_folder(teacher, tmp_path):
    found = []

    def look(*given, **keywords):
        with kept_checkpoints(*given, **keywords) as folder:
            found.append(folder)

    look(Config(), (part(), part("b")))
    look(Config(epochs=2), (part(), part("b")))
    look(Config(), (part(), part("e")))
    look(Config(), (part(), part("b")), teacher=teacher)
    (teacher / "weights").write_text("others")
    look(Config(), (part(), part("b")), teacher=teacher)
    assert len(set(found)) == 5
    assert {folder.parent for folder in found} == {tmp_path / "home" / "checkpoints"}


def test_the_same_training_does_not_run_twice_at_one_time():
    with (
        kept_checkpoints(Config(), (part(),)),
        pytest.raises(RuntimeError, match="runs already"),
        kept_checkpoints(Config(), (part(),)),
    ):
        pass

import sys
from pathlib import Path

import pytest

from localcluster.images import ANY_IMAGE, ImageError, interpreter, repository

HERE = Path(sys.executable)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a", "a"),
        ("a:1", "a"),
        ("host:5000/x/a", "host:5000/x/a"),
        ("host:5000/x/a:1@sha256:00", "host:5000/x/a"),
        ("a@sha256:00", "a"),
    ],
)
def test_tags_digests_and_ports_are_told_apart(image, name):
    assert repository(image) == name


def test_the_projects_images_are_this_interpreter_wherever_they_come_from():
    for image in ("ml-deployment-blueprints/credit-risk:0.1.0", "example.com:5000/ml-deployment-blueprints/x@sha256:0"):
        assert interpreter(image, {}) == HERE


def test_an_image_with_other_packages_is_its_own_environment(tmp_path):
    image = "ml-deployment-blueprints/credit-risk-alibi:0.1.0"
    with pytest.raises(ImageError, match="make alibi"):
        interpreter(image, {}, project=tmp_path)
    python = tmp_path / ".venv-alibi" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert interpreter(image, {}, project=tmp_path) == python


@pytest.mark.parametrize("image", ["nginx", "ml-deployment-blueprints", "not-ml-deployment-blueprints/x", ""])
def test_an_unknown_image_runs_only_if_its_pod_says_so(image):
    with pytest.raises(ImageError, match=f'annotate the pod with {ANY_IMAGE}: "true"'):
        interpreter(image, {})
    assert interpreter(image, {ANY_IMAGE: "true"}) == HERE

import sys

import pytest

from localcluster.render import ManifestError, parse, render


def test_an_overlay_is_built_by_kustomize(overlay):
    objects = render(overlay)
    assert {item["kind"] for item in objects} == {"ServingRuntime", "Secret", "InferenceService"}
    assert objects.get("InferenceService", "shop", "shop")["spec"]["explainer"]["containers"]


def test_a_missing_overlay_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere: no kustomization\.yaml"):
        render(tmp_path / "nowhere")


def test_a_build_that_fails_says_why(overlay):
    (overlay / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    with pytest.raises(ManifestError, match=r"gone\.yaml"):
        render(overlay)


def test_a_build_that_hangs_is_ended(overlay):
    with pytest.raises(ManifestError, match=r"more than 0\.001 s"):
        render(overlay, timeout_s=0.001)


def test_missing_kubectl_is_told_with_its_cure(overlay, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ManifestError, match="make install"):
        render(overlay)


def test_an_object_that_is_not_there_is_told_with_what_is(overlay):
    with pytest.raises(ManifestError, match=r"no InferenceService 'till'.*there is: shop"):
        render(overlay).get("InferenceService", "till")


@pytest.mark.parametrize("text", ["- a\n- b\n", "kind: Pod\n", "a: [\n", "just words"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ManifestError):
        parse(text)

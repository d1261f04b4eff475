"""Lineage: what it says of code and libraries."""

from __future__ import annotations

import subprocess

import numpy as np

from blueprints.provenance import git_state, installed_versions


def test_the_commit_is_that_of_the_code_and_not_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    here = git_state()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "elsewhere"], check=True)
    monkeypatch.chdir(tmp_path)
    assert git_state() == here
    monkeypatch.setenv("GIT_COMMIT", "e" * 40)
    assert git_state() == ("e" * 40, False)


def test_without_git_the_commit_is_empty(tmp_path, monkeypatch):
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == ("", False)


def test_only_installed_packages_have_a_version():
    assert installed_versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}

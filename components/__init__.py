"""Reusable Kubeflow Pipelines components, one folder each: `components/<category>/<name>/component.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

JOBS_IMAGE = os.environ.get("BLUEPRINTS_JOBS_IMAGE", "ml-deployment-blueprints/jobs:0.1.0")
"""Image that components run in on a cluster: this project with its `data`, `training` and `pipelines` extras."""

FINETUNING_IMAGE = os.environ.get("BLUEPRINTS_FINETUNING_IMAGE", "ml-deployment-blueprints/finetuning:0.1.0")
"""Image of the components that need torch: this project with its extras `pipelines` and `finetuning`, and torch."""


def component(function: Callable[..., Any]) -> Any:
    """Makes a function a component that runs in the project's jobs image and installs nothing.

    Only the function's own source travels to the cluster, without decorators: imports belong inside its body.

    Args:
        function: Artifacts and parameters in, one call into `blueprints`, artifacts out.

    Returns:
        The component, to be called in a pipeline.
    """
    return dsl.component(function, base_image=JOBS_IMAGE, install_kfp_package=False)


def finetuning_component(function: Callable[..., Any]) -> Any:
    """Makes a function a component that runs where torch is, see `component`.

    Its image is `FINETUNING_IMAGE`; on a laptop it runs in `.venv-finetuning` (`make finetuning`).
    """
    return dsl.component(function, base_image=FINETUNING_IMAGE, install_kfp_package=False)

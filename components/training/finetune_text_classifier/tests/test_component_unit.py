from __future__ import annotations

from components import FINETUNING_IMAGE
from components.training.finetune_text_classifier.component import finetune_text_classifier


def test_it_runs_in_the_image_that_has_torch():
    container = finetune_text_classifier.component_spec.implementation.container
    assert container.image == FINETUNING_IMAGE

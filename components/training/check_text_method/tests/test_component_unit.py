from __future__ import annotations

import pytest

from components.training.check_text_method.component import check_text_method


def test_a_mistyped_method_is_refused():
    check_text_method.python_func("finetuned", 3)
    with pytest.raises(ValueError, match="'fine-tuned'; it must be frozen or finetuned"):
        check_text_method.python_func("fine-tuned")

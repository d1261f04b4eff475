import pytest

from blueprints.sentiment.encoder import minilm
from blueprints.sentiment.method import LAYERS, check_method


@pytest.mark.parametrize(("method", "layers"), [("frozen", 0), ("finetuned", 0), ("finetuned", LAYERS - 1)])
def test_what_can_be_trained_is_accepted(method, layers):
    check_method(method, layers)


@pytest.mark.parametrize(
    ("method", "layers", "words"),
    [
        ("Finetuned", 0, "method is 'Finetuned'; it must be frozen or finetuned"),
        ("frozen", 3, "distilled from a fine-tuned model; set method to finetuned"),
        ("finetuned", LAYERS, "must be 0 .* to 5"),
        ("finetuned", -1, "must be 0 .* to 5"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(method, layers, words):
    with pytest.raises(ValueError, match=words):
        check_method(method, layers)


def test_the_encoder_has_as_many_layers():
    assert minilm().config.num_hidden_layers == LAYERS

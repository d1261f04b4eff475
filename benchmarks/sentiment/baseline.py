"""The usual service, which the sentiment blueprint is held against: FastAPI and a `transformers` pipeline.

A synchronous endpoint (so uvicorn's one worker runs it on its pool of 40 threads), torch in fp32 on the very weights
that the blueprint serves. Runs in the environment of the fine-tuning (`make finetuning`):

    .venv-finetuning/bin/python -m benchmarks.sentiment.baseline FOLDER PORT [THREADS]

FOLDER has `config.json` of the encoder, `model.safetensors` and `tokenizer.json`; without THREADS torch chooses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

WEIGHTS, ENCODER, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
HEALTH = "/health"
_MAX_TOKENS = 256


class TextRequest(BaseModel):
    """What is asked.

    Attributes:
        text: A text of 3 to 512 characters.
    """

    text: str = Field(min_length=3, max_length=512)


class Prediction(BaseModel):
    """What is answered.

    Attributes:
        label: The likelier label.
        probability: Its probability.
    """

    label: str
    probability: float


def pipeline(folder: Path, labels: tuple[str, ...] = ("negative", "positive")) -> Any:
    """The `TextClassificationPipeline` of a trained encoder.

    Its model is `BertForSequenceClassification` but for the pooling, which is the mean of all tokens as in the weights'
    training instead of a dense layer on the first one.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import (
        BertConfig,
        BertModel,
        BertPreTrainedModel,
        PreTrainedTokenizerFast,
        TextClassificationPipeline,
    )
    from transformers.modeling_outputs import SequenceClassifierOutput

    class MeanPooledClassifier(BertPreTrainedModel):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.bert = BertModel(config, add_pooling_layer=False)
            self.head = torch.nn.Linear(config.hidden_size, config.num_labels)
            self.post_init()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, **_: Any) -> Any:
            hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return SequenceClassifierOutput(logits=self.head((hidden * mask).sum(1) / mask.sum(1)))

    weights = load_file(folder / WEIGHTS)
    named = dict(enumerate(labels))
    config = BertConfig.from_json_file(folder / ENCODER)
    config.id2label, config.label2id = named, {label: index for index, label in named.items()}
    config.num_hidden_layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    model = MeanPooledClassifier(config).eval()
    model.load_state_dict(
        {name if name.startswith("head.") else f"bert.{name}": array for name, array in weights.items()}
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / TOKENIZER),
        pad_token="[PAD]",  # noqa: S106
        model_max_length=_MAX_TOKENS,
    )
    return TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")


def application(folder: Path) -> Any:
    """The service."""
    from fastapi import FastAPI

    classify = pipeline(folder)
    app = FastAPI(title="sentiment")

    @app.post("/predict")
    def predict(request: TextRequest) -> Prediction:
        (found,) = classify(request.text, truncation=True)
        return Prediction(label=found["label"], probability=found["score"])

    @app.get(HEALTH)
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    """Serves until it is ended."""
    import torch
    import uvicorn

    folder, port, *threads = sys.argv[1:]
    if threads:
        torch.set_num_threads(int(threads[0]))
    uvicorn.run(application(Path(folder)), host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()

"""From a trained text model in fp32 to the one that is served: int8 if that is as good, and calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder_graph import write_text_model
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.quantization import quantize
from blueprints.sentiment.temperature import fit_temperature
from blueprints.sentiment.text_model import CONFIG, MODEL, TOKENIZER, TextModelConfig
from blueprints.sentiment.text_reader import Ids, TextReader

CALIBRATION = 256
"""Texts that show the ranges of activations."""


@dataclass(frozen=True)
class Served:
    """What was chosen, and why.

    Attributes:
        precision: Number format of the weights that are served.
        accuracy_fp32: Share of validation rows whose label is the likeliest, 0 to 1.
        accuracy_int8: The same of the int8 model.
        temperature: What its logits are divided by.
        megabytes: Size of the model file, 10^6 bytes.
    """

    precision: Literal["fp32", "int8"]
    accuracy_fp32: float
    accuracy_int8: float
    temperature: float
    megabytes: float


def prepare_for_serving(
    trained: Path, validation: Examples, folder: Path, *, int8_loss_limit: float = 0.01, threads: int = 2
) -> Served:
    """Quantizes a text model, falls back to fp32 if that costs too much, and fits the temperature of what is served.

    Args:
        trained: Folder of the text model in fp32.
        validation: Rows that it has not learned from; their texts, not their labels, also give the scales of int8.
        folder: Where the model to serve is written.
        int8_loss_limit: Accuracy that int8 may lose against fp32 on these rows, 0 to 1; 0 allows no loss.
        threads: Threads of the models.

    Raises:
        ValueError: The labels of the rows are not those of the model.
    """
    config = TextModelConfig.model_validate_json((trained / CONFIG).read_bytes())
    if validation.names != config.labels:
        raise ValueError(f"the model tells {config.labels} apart, and the validation rows have {validation.names}")
    config = config.model_copy(update={"temperature": 1.0, "precision": "fp32"})
    tokenizer, model = (trained / TOKENIZER).read_bytes(), (trained / MODEL).read_bytes()
    small = quantize(model, calibration_windows(TextReader(tokenizer, config), validation.texts))
    logits = {
        name: _logits(TextClassifier(content, tokenizer, config, threads=threads), validation.texts)
        for name, content in (("fp32", model), ("int8", small))
    }
    accuracy = {name: float(np.mean(part.argmax(axis=1) == validation.labels)) for name, part in logits.items()}
    precision: Literal["fp32", "int8"] = "int8" if accuracy["fp32"] - accuracy["int8"] <= int8_loss_limit else "fp32"
    temperature = fit_temperature(logits[precision], validation.labels)
    chosen = small if precision == "int8" else model
    updates = {"temperature": temperature, "precision": precision}
    write_text_model(folder, chosen, tokenizer, config.model_copy(update=updates))
    return Served(precision, accuracy["fp32"], accuracy["int8"], temperature, len(chosen) / 1e6)


def calibration_windows(reader: TextReader, texts: list[str]) -> list[Ids]:
    """Windows of at most `CALIBRATION` texts, spread over all."""
    sample = texts[:: max(1, len(texts) // CALIBRATION)][:CALIBRATION]
    return [window for text in reader.encode(sample) for window in text.windows]


def _logits(classifier: TextClassifier, texts: list[str]) -> NDArray[np.float64]:
    """Logits of whole texts, all their windows seen, up to a constant a text."""
    return np.asarray(np.log(np.maximum(classifier.classify(texts), np.finfo(np.float64).tiny)))

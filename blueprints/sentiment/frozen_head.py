"""The fast way to a text model: a linear head on frozen sentence embeddings. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT, Encoder
from blueprints.sentiment.encoder_graph import encoder_graph, write_text_model
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.text_model import TextModelConfig

Progress = Callable[[int, int, str], None]

REGULARISATIONS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Values of scikit-learn's C that the head is tried with."""

_BATCH = 32


@dataclass(frozen=True)
class FrozenHead:
    """A trained head.

    Attributes:
        encoder: The encoder with the head.
        config: What has to be known to use the model.
        regularisation: C that was chosen.
        validation_accuracy: Share of validation rows whose label is the likeliest, 0 to 1.
    """

    encoder: Encoder
    config: TextModelConfig
    regularisation: float
    validation_accuracy: float

    def save(self, folder: Path) -> None:
        """Writes the text model."""
        write_text_model(folder, encoder_graph(self.encoder), self.encoder.tokenizer, self.config)


def train_frozen_head(
    training: Examples, validation: Examples, encoder: Encoder, *, threads: int = 2, progress: Progress | None = None
) -> FrozenHead:
    """Trains a multinomial logistic regression on the embeddings of an encoder that stays as it is.

    Its regularisation is the one with the least log loss on the validation rows. The same rows and encoder give the
    same head.

    Args:
        training: What to learn from.
        validation: What to choose the regularisation with.
        encoder: Where the embeddings come from.
        threads: Threads of the encoder.
        progress: Called with (done, total, words) as texts are embedded.

    Raises:
        ValueError: The training rows show fewer labels than there are.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, log_loss
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(training.labels)) != len(training.names):
        raise ValueError(f"the training rows must show each of the labels {', '.join(training.names)}")
    config = TextModelConfig(
        labels=training.names,
        pad_id=encoder.config.pad_token_id,
        layers=encoder.config.num_hidden_layers,
        method="frozen",
    )
    features = embed([*training.texts, *validation.texts], encoder, config, threads=threads, progress=progress)
    scaler = StandardScaler().fit(features[: len(training.texts)])
    fitting, choosing = np.split(scaler.transform(features), [len(training.texts)])
    labels = np.arange(len(training.names))
    models = [LogisticRegression(C=c, max_iter=2000).fit(fitting, training.labels) for c in REGULARISATIONS]
    losses = [log_loss(validation.labels, model.predict_proba(choosing), labels=labels) for model in models]
    best = models[int(np.argmin(losses))]
    weight, bias = best.coef_ / scaler.scale_, best.intercept_
    bias = bias - weight @ scaler.mean_
    if len(labels) == 2:
        # One row of log-odds, told as two logits.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weights = {**encoder.weights, HEAD_WEIGHT: weight.astype(np.float32), HEAD_BIAS: bias.astype(np.float32)}
    return FrozenHead(
        encoder=replace(encoder, weights=weights),
        config=config,
        regularisation=float(best.C),
        validation_accuracy=float(accuracy_score(validation.labels, best.predict(choosing))),
    )


def embed(
    texts: Sequence[str],
    encoder: Encoder,
    config: TextModelConfig,
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Embeddings of texts, shape (texts, hidden_size): the mean of the token vectors of a text's first window."""
    weights = {name: array for name, array in encoder.weights.items() if name not in (HEAD_WEIGHT, HEAD_BIAS)}
    model = encoder_graph(replace(encoder, weights=weights))
    classifier = TextClassifier(model, encoder.tokenizer, config, threads=threads)
    windows = [text.windows[0] for text in classifier.encode(texts)]
    order = sorted(range(len(windows)), key=lambda position: len(windows[position]))
    result = np.empty((len(windows), encoder.config.hidden_size), np.float32)
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        result[part] = classifier.logits([windows[position] for position in part])
        if progress is not None and (start // _BATCH) % 20 == 0:
            progress(start + len(part), len(order), "texts embedded")
    return result

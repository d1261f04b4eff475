"""Flags: a number that makes no sense is refused at the start, with the flag's name and what would do."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_services.serving.options import Options, integer, number


@pytest.mark.parametrize(
    "flag",
    [
        *("--max_body=0", "--max_body=-5", "--max_body=2e6", "--max_rows=0", "--max_rows=-1"),
        *("--max_concurrency=0", "--max_concurrency=1000000", "--grace_period=-3", "--grace_period=soon"),
        *("--request_timeout=0", "--request_timeout=nan", "--request_timeout=inf", "--request_timeout=soon"),
        *("--predictor_request_timeout_seconds=-1", "--workers=0", "--workers=257", "--http_port=0"),
        *("--grpc_port=65536", "--grpc_port=" + "9" * 5000),
    ],
)
def test_numbers_out_of_bounds_are_refused_with_the_name_of_their_flag(flag, capsys):
    with pytest.raises(SystemExit):
        Options.parse([flag])
    told = capsys.readouterr().err
    assert f"argument {flag.split('=')[0]}" in told
    assert "give a" in told


def test_numbers_within_bounds_are_taken():
    options = Options.parse(["--max_body=1", "--grace_period=0", "--request_timeout=0.5", "--workers=256"])
    assert (options.max_body, options.grace_period, options.request_timeout, options.workers) == (1, 0, 0.5, 256)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(-(10**6), 10**7))
def test_a_type_takes_what_lies_between_its_bounds_and_nothing_else(least, width, value):
    most = least + width
    for kind in (integer(least, most), number(least, most)):
        if least <= value <= most:
            assert kind(str(value)) == value
        else:
            with pytest.raises(argparse.ArgumentTypeError, match="give a"):
                kind(str(value))

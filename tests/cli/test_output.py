import json

import pytest

from cli.output import print_json


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_has_not_are_null(capsys, number):
    print_json({"figures": {"a": {"value": number, "baseline": 1.5}}, "list": [number, 2, "NaN"]})
    said = capsys.readouterr().out
    assert json.loads(said, parse_constant=pytest.fail) == {
        "figures": {"a": {"value": None, "baseline": 1.5}},
        "list": [None, 2, "NaN"],
    }

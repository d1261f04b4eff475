"""The sentiment servers as processes, on a lexicon that can be checked by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blueprints.model_package import ModelPackage
from tests.inference_services.conftest import Running, all_ready, start
from tests.lexicon_model import lexicon_package

SENTIMENT = "inference_services.sentiment"


@pytest.fixture(scope="session")
def text_package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return lexicon_package(tmp_path_factory.mktemp("lexicon") / "sentiment")


@pytest.fixture(scope="session")
def text_servers(text_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """All of them, started at once as a service starts them."""
    folder, model = tmp_path_factory.mktemp("servers"), text_package.folder
    predictor = start("predictor", model, folder, "--slots=1", "--threads=1", package=SENTIMENT)
    rest = f"--predictor_host=127.0.0.1:{predictor.http_port}"
    rpc = ("--predictor_protocol=grpc-v2", f"--predictor_host=127.0.0.1:{predictor.grpc_port}")
    servers = {
        "predictor": predictor,
        "transformer": start("transformer", model, folder, rest, package=SENTIMENT),
        "grpc-transformer": start("transformer", model, folder, *rpc, "--max_characters=20000", package=SENTIMENT),
        "explainer": start("explainer", model, folder, package=SENTIMENT, MAX_CHARACTERS="4000"),
        "edge": start("edge", model, folder, package=SENTIMENT),
    }
    with all_ready(servers):
        yield servers


@pytest.fixture(scope="session")
def text_predictor(text_servers: dict[str, Running]) -> Running:
    return text_servers["predictor"]


@pytest.fixture(scope="session", params=["transformer", "grpc-transformer"])
def text_transformer(text_servers: dict[str, Running], request: pytest.FixtureRequest) -> Running:
    return text_servers[request.param]


@pytest.fixture(scope="session")
def text_explainer(text_servers: dict[str, Running]) -> Running:
    return text_servers["explainer"]


@pytest.fixture(scope="session")
def edge(text_servers: dict[str, Running]) -> Running:
    return text_servers["edge"]

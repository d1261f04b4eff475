"""The segmentation servers as processes, over an online store that was filled from a small warehouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blueprints.model_package import ModelPackage
from blueprints.segmentation.segmenter import Segmenter
from tests.inference_services.conftest import Running, all_ready, start
from tests.segment_model import Customers, fill_store
from tests.segment_model import segment_package as write_segment_package

SEGMENTATION = "inference_services.segmentation"


@pytest.fixture(scope="session")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Customers:
    folder = tmp_path_factory.mktemp("feature-store")
    return fill_store(folder / "data", f"duckdb:///{folder}/warehouse.duckdb")


@pytest.fixture(scope="session")
def segment_package(customers: Customers, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write_segment_package(tmp_path_factory.mktemp("package") / "segmentation", customers)


@pytest.fixture(scope="session")
def segmenter(segment_package: ModelPackage) -> Segmenter:
    return Segmenter.from_package(segment_package)


@pytest.fixture(scope="session")
def segment_servers(
    segment_package: ModelPackage, customers: Customers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Running]]:
    """All of them, started at once as a service starts them."""
    folder, model = tmp_path_factory.mktemp("servers"), segment_package.folder
    predictor = start("predictor", model, folder, package=SEGMENTATION)
    rest = f"--predictor_host=127.0.0.1:{predictor.http_port}"
    rpc = ("--predictor_protocol=grpc-v2", f"--predictor_host=127.0.0.1:{predictor.grpc_port}")
    store = {"FEATURE_STORE_DATA": str(customers.folder)}
    servers = {
        "predictor": predictor,
        "transformer": start("transformer", model, folder, rest, package=SEGMENTATION, **store),
        "grpc-transformer": start("transformer", model, folder, *rpc, package=SEGMENTATION, **store),
        "explainer": start("explainer", model, folder, package=SEGMENTATION, **store),
    }
    with all_ready(servers):
        yield servers


@pytest.fixture(scope="session")
def segment_predictor(segment_servers: dict[str, Running]) -> Running:
    return segment_servers["predictor"]


@pytest.fixture(scope="session", params=["transformer", "grpc-transformer"])
def segment_transformer(segment_servers: dict[str, Running], request: pytest.FixtureRequest) -> Running:
    return segment_servers[request.param]


@pytest.fixture(scope="session")
def segment_explainer(segment_servers: dict[str, Running]) -> Running:
    return segment_servers["explainer"]

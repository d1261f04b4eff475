from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.blueprints.credit_risk.postgres import Cluster, running_cluster
from tests.blueprints.segmentation.redis_server import RedisServer, running_redis


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A throw-away PostgreSQL server."""
    yield from running_cluster()


@pytest.fixture
def new_url(request, tmp_path) -> Callable[[str], str]:
    """Makes the URL of an empty warehouse of a dialect."""

    def make(dialect: str) -> str:
        if dialect == "postgresql":
            return request.getfixturevalue("postgres").new_database()
        return f"{dialect}:///{tmp_path}/warehouse.{dialect}"

    return make


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory) -> Iterator[RedisServer]:
    """A throw-away Redis server."""
    yield from running_redis(tmp_path_factory.mktemp("redis"))

"""The three kinds of online store as the project ships them, over throw-away servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

MANIFESTS = Path(__file__).parents[1] / "manifests" / "feature_store"
KINDS = {
    "sqlite": MANIFESTS / "feature_store.yaml",
    "redis": MANIFESTS / "feature_store.redis.yaml",
    "postgres": MANIFESTS / "feature_store.postgres.yaml",
}
PASSWORD = "hush"


@pytest.fixture
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Empties a store of a kind and gives the environment variables by which it is found."""

    def make(kind: str) -> dict[str, str]:
        variables = {"FEATURE_STORE_CONFIG": str(KINDS[kind]), "FEATURE_STORE_DATA": str(tmp_path / "data")}
        if kind == "redis":
            server = request.getfixturevalue("redis_server")
            redis.Redis(port=server.port, db=1).flushdb()
            variables["FEATURE_STORE_REDIS"] = f"{server.address},db=1"
        if kind == "postgres":
            cluster = request.getfixturevalue("postgres")
            settings = {
                "HOST": cluster.folder,
                "DATABASE": urlsplit(cluster.new_database()).path[1:],
                "USER": "postgres",
                "PASSWORD": PASSWORD,
                "SSLMODE": "disable",
            }
            variables |= {f"FEATURE_STORE_POSTGRES_{name}": str(value) for name, value in settings.items()}
        return variables

    return make

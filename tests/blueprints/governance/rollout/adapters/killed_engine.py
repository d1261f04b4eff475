"""Works at a rollout with engines that are killed: each one with SIGKILL at its first transition.

Forks one engine after another from a process that has everything imported. `before` kills it when it is about to write
the transition, after its effects; `after` when it has written. Prints one line an engine: what its transition was.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import kubernetes.client
import urllib3.response

from blueprints.governance.rollout.adapters.assembly import ServiceRollout
from blueprints.governance.rollout.adapters.cluster import Cluster

__all__ = ["kubernetes", "urllib3"]
_ENGINES = 40


def work(kubeconfig: str, moment: str) -> None:
    """One engine: works until it is killed, or the rollout is over."""
    rollout = ServiceRollout.of(
        Cluster.connect("blueprints-local", kubeconfig=Path(kubeconfig)), "credit-risk", registry=None
    )
    write = rollout.traffic.write

    def killing(state, version):
        now = rollout.traffic.read().state
        transition = (now.phase, now.stage, now.step) != (state.phase, state.stage, state.step)
        if transition:
            sys.stdout.write(f"{state.phase}/{state.stage}/{state.step}\n")
            sys.stdout.flush()
        if transition and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        written = write(state, version)
        if transition:
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    # Instances are frozen; this one is for the test alone.
    rollout.traffic.write = killing
    rollout.work(lease_s=1)


def main(kubeconfig: str, moment: str) -> int:
    for number in range(_ENGINES):
        engine = os.fork()
        if engine == 0:
            # With `before`, every second engine may write, or none would ever get further.
            work(kubeconfig, "after" if number % 2 else moment)
            os._exit(0)
        _, status = os.waitpid(engine, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return 0
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            return 1
    return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

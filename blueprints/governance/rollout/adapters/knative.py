"""Traffic by KServe's `canaryTrafficPercent`, which splits it between Knative revisions.

The state is kept on a ConfigMap of its own: KServe hands an InferenceService's annotations down to its pods, so that
each look would make a new revision. Two objects are two writes. A state with work left to do is written first, and
whoever reads next sees a percentage that is not the state's and writes it again; a state that ends the rollout is
written last.
"""

from __future__ import annotations

from blueprints.governance.rollout.adapters.cluster import (
    CONFIG_MAPS,
    INFERENCE_SERVICES,
    AbsentError,
    Cluster,
    ConflictError,
    Object,
)
from blueprints.governance.rollout.adapters.records import STATE, Ended, annotated, history, stored_state
from blueprints.governance.rollout.adapters.release import revisions
from blueprints.governance.rollout.ports import Stored, SupersededError
from blueprints.governance.rollout.state import Phase, State


class KnativeTraffic:
    """Percentage of the newest revision and the state.

    Args:
        cluster: Where the service is.
        service: The service.
    """

    def __init__(self, cluster: Cluster, service: str) -> None:
        self._cluster = cluster
        self._service = service
        self._name = f"{service}-rollout"

    def read(self) -> Stored:
        """See `Traffic`."""
        service = self._cluster.require(INFERENCE_SERVICES, self._service)
        kept = self._kept()
        state = stored_state(kept)
        percent = service["spec"]["predictor"].get("canaryTrafficPercent")
        # A percentage that is as the state wants it is the state's weight, also where it is left out.
        weight = (
            state.weight if state is not None and percent == _percent(state) else 100 if percent is None else percent
        )
        return Stored(state, weight if state is not None else 0, kept["metadata"]["resourceVersion"])

    def write(self, state: State, version: str) -> str:
        """See `Traffic`."""
        try:
            kept = self._kept()
            if kept["metadata"]["resourceVersion"] != version:
                raise SupersededError(f"ConfigMap {self._name!r} has changed")
            if state.phase.over:
                self._set(_percent(state))
            patch = {"metadata": {"annotations": annotated(state, kept)}}
            written = self._cluster.merge(CONFIG_MAPS, self._name, patch, version=version)
            if not state.phase.over:
                self._set(_percent(state))
        except (ConflictError, AbsentError) as error:
            raise SupersededError(str(error)) from error
        return str(written["metadata"]["resourceVersion"])

    def discard(self) -> None:
        """Drops a state that may be unreadable, after the last complete revision has got all traffic.

        Raises:
            SupersededError: Someone else wrote at the same time.
        """
        kept = self._kept()
        patch = {"metadata": {"annotations": {STATE: None}}}
        try:
            self._set(0)
            self._cluster.merge(CONFIG_MAPS, self._name, patch, version=kept["metadata"]["resourceVersion"])
        except (ConflictError, AbsentError) as error:
            raise SupersededError(str(error)) from error

    def history(self) -> tuple[Ended, ...]:
        """How the last rollouts ended, oldest first."""
        return history(self._kept())

    def pods(self) -> tuple[str, str]:
        """Regular expressions for the pods of the stable and of the newest revision."""
        stable, candidate, _ = revisions(self._cluster.require(INFERENCE_SERVICES, self._service))
        return f"{stable}-deployment-.+", f"{candidate}-deployment-.+"

    def ready(self) -> tuple[bool, bool]:
        """Whether the stable and the newest revision are ready."""
        stable, candidate, ready = revisions(self._cluster.require(INFERENCE_SERVICES, self._service))
        return bool(stable), ready and candidate != stable

    def _set(self, percent: int | None) -> None:
        percentage = {"spec": {"predictor": {"canaryTrafficPercent": percent}}}
        self._cluster.merge(INFERENCE_SERVICES, self._service, percentage)

    def _kept(self) -> Object:
        """The ConfigMap; made if it is not there."""
        if (kept := self._cluster.get(CONFIG_MAPS, self._name)) is not None:
            return kept
        try:
            return self._cluster.create(CONFIG_MAPS, {"metadata": {"name": self._name}})
        except ConflictError:
            return self._cluster.require(CONFIG_MAPS, self._name)


def _percent(state: State) -> int | None:
    """What `canaryTrafficPercent` shall be: once it is promoted, the newest revision takes everything without one."""
    if state.phase is Phase.PROMOTED or (state.phase in {Phase.PROMOTING, Phase.FAILED} and state.stage is not None):
        return None
    return state.weight

"""How many pods each ReplicaSet of a Deployment should have next: Kubernetes' rolling update. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SetCount:
    """A ReplicaSet in figures.

    Attributes:
        name: Its name.
        wanted: Pods that it should have.
        available: Pods that have been ready for long enough.
        pods: Pods that it has, those that end included.
    """

    name: str
    wanted: int
    available: int
    pods: int


@dataclass(frozen=True)
class Limits:
    """How far a rolling update may go.

    Attributes:
        surge: Pods above what is wanted.
        unavailable: Pods below what is wanted.
    """

    surge: int
    unavailable: int

    @classmethod
    def of(cls, replicas: int, max_surge: int | str = "25%", max_unavailable: int | str = "25%") -> Limits:
        """Absolute figures: shares of a surge are rounded up, those of unavailability down, never both to 0."""
        surge = _absolute(max_surge, replicas, math.ceil)
        unavailable = min(_absolute(max_unavailable, replicas, math.floor), replicas)
        return cls(surge, unavailable if surge or unavailable else 1)


def rolling(replicas: int, limits: Limits, new: SetCount, old: Sequence[SetCount]) -> dict[str, int]:
    """Pods that each set should have next in a rolling update.

    Args:
        replicas: Pods that the Deployment should have.
        limits: How far it may go.
        new: The set of the present template.
        old: The others, oldest first.

    Returns:
        Name of each set to its pods.
    """
    wanted = {each.name: each.wanted for each in (*old, new)}
    if (more := _grown(replicas, limits, new, old)) != new.wanted:
        wanted[new.name] = more
        # What is taken away depends on how many there are then.
        new = SetCount(new.name, more, min(new.available, more), new.pods)
    floor = replicas - limits.unavailable
    spare = sum(wanted.values()) - floor - (new.wanted - new.available)
    # First those that serve nobody anyway.
    for each in old:
        taken = max(0, min(spare, each.wanted - each.available))
        wanted[each.name] -= taken
        spare -= taken
    spare = min(spare, sum(min(each.available, each.wanted) for each in (*old, new)) - floor)
    for each in old:
        taken = max(0, min(spare, wanted[each.name]))
        wanted[each.name] -= taken
        spare -= taken
    return wanted


def recreate(replicas: int, new: SetCount, old: Sequence[SetCount]) -> dict[str, int]:
    """Pods that each set should have next if the old ones must be gone before the new ones come.

    Args:
        replicas: Pods that the Deployment should have.
        new: The set of the present template.
        old: The others; their `pods` count until they have ended.
    """
    gone = not any(each.pods for each in old)
    return {**dict.fromkeys((each.name for each in old), 0), new.name: replicas if gone else new.wanted}


def scaled(replicas: int, sets: Sequence[SetCount]) -> dict[str, int]:
    """Pods that each set should have while the rollout is paused: only the newest that has any follows `replicas`.

    Args:
        replicas: Pods that the Deployment should have.
        sets: All of them, oldest first.
    """
    wanted = {each.name: each.wanted for each in sets}
    active = [each for each in sets if each.wanted] or list(sets[-1:])
    if active:
        last = active[-1]
        wanted[last.name] = max(0, replicas - sum(wanted.values()) + last.wanted)
    return wanted


def kept(old: Mapping[str, int], limit: int) -> set[str]:
    """Names of the sets without pods that are kept for a rollback: the last `limit` by revision.

    Args:
        old: Name of a set to its revision.
        limit: `revisionHistoryLimit`.
    """
    return set(sorted(old, key=lambda name: old[name])[max(0, len(old) - limit) :])


def _grown(replicas: int, limits: Limits, new: SetCount, old: Sequence[SetCount]) -> int:
    if new.wanted >= replicas:
        return replicas
    room = replicas + limits.surge - new.wanted - sum(each.wanted for each in old)
    return new.wanted + max(0, min(room, replicas - new.wanted))


def _absolute(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return rounded(int(value[:-1]) * replicas / 100)
    return int(value)

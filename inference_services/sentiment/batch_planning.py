"""How texts are batched, and on how many threads: measured when a server starts, or kept by an earlier start."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from blueprints.model_package import ModelPackage
from blueprints.sentiment.classifier import TextClassifier
from inference_services.serving.batch_costs import BatchCosts, measure_costs
from inference_services.serving.dynamic_batching import BatchPlan

_log = logging.getLogger("serving")

_SIZES = (8, 16, 32, 64, 128, 256, 512)
_LAYOUT_ROWS, _LAYOUT_SIZE, _LAYOUT_ROUNDS = 4, 32, 12
# A call on all cores waits for the slowest of them whenever something else runs, so it must be faster by a tenth.
_CLEARLY = 0.9


@dataclass(frozen=True)
class BatchSettings:
    """What a user fixed about batching; None is measured.

    Attributes:
        slots: Calls of the model at one time.
        threads: Threads of each.
        max_batch: Windows in one call; fixing it fills batches whatever they cost.
        max_wait_s: Longest that a window waits for company while a slot is free.
        max_queue_s: Work that may wait, in seconds.
        plan: File that keeps the measured plan.
    """

    slots: int | None = None
    threads: int | None = None
    max_batch: int | None = None
    max_wait_s: float = 0.0
    max_queue_s: float = 1.0
    plan: Path | None = None


class StoredPlan(BaseModel):
    """A measured plan and what it was measured on.

    Attributes:
        machine: Kind of processor and number of cores.
        model_version: Version of the model package.
        slots: Calls of the model at one time.
        threads: Threads of each.
        costs: Seconds of a call.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    machine: str
    model_version: str
    slots: int
    threads: int
    costs: BatchCosts


def planned(package: ModelPackage, settings: BatchSettings, cores: int) -> tuple[TextClassifier, BatchPlan]:
    """The classifier of a package, its model warm, and how to batch for it.

    Args:
        package: The model package.
        settings: What a user fixed.
        cores: Cores that the model may use.
    """
    stored = _stored(package, settings, cores)
    if stored is None:
        classifier, slots = _layout(package, settings, cores)
        threads = settings.threads or (1 if slots > 1 else cores)
        costs = measure_costs(lambda rows, size: _call(classifier, rows, size), _sizes(classifier))
        stored = StoredPlan(
            machine=_machine(cores), model_version=package.version, slots=slots, threads=threads, costs=costs
        )
        if settings.plan is not None:
            _store(settings.plan, stored)
    else:
        classifier = TextClassifier.open(package, threads=stored.threads)
        _call(classifier, 1, 16)
    plan = BatchPlan(
        slots=stored.slots,
        threads=stored.threads,
        max_batch=settings.max_batch or stored.costs.rows[-1],
        costs=stored.costs,
        by_cost=settings.max_batch is None,
        max_wait_s=settings.max_wait_s,
    )
    return classifier, plan


def _layout(package: ModelPackage, settings: BatchSettings, cores: int) -> tuple[TextClassifier, int]:
    """The classifier and its slots: a core a call, or all cores for one if that clearly answers more texts a second."""
    if settings.slots or settings.threads or cores == 1:
        threads = settings.threads or max(1, cores // (settings.slots or 1))
        return TextClassifier.open(package, threads=threads), settings.slots or max(1, cores // threads)
    alone, together = (_seconds_a_call(package, *layout) for layout in ((cores, 1), (1, cores)))
    slots, threads = (1, cores) if together < _CLEARLY * alone else (cores, 1)
    return TextClassifier.open(package, threads=threads), slots


def _seconds_a_call(package: ModelPackage, slots: int, threads: int) -> float:
    """Time of a call while all slots are busy, over the slots; two models are never in memory."""
    classifier = TextClassifier.open(package, threads=threads)
    with ThreadPoolExecutor(slots) as pool:

        def all_at_once() -> None:
            list(pool.map(lambda _: _call(classifier, _LAYOUT_ROWS, _LAYOUT_SIZE), range(slots)))

        return _shortest(all_at_once) / slots


def _shortest(run: Callable[[], object]) -> float:
    run()
    return min(_seconds(run) for _ in range(_LAYOUT_ROUNDS))


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _call(classifier: TextClassifier, rows: int, size: int) -> None:
    ids = np.full((rows, size), classifier.config.mask_id, np.int64)
    classifier.run(ids, np.ones_like(ids))


def _sizes(classifier: TextClassifier) -> list[int]:
    longest = classifier.config.max_tokens
    return [size for size in _SIZES if size < longest] + [longest]


def _stored(package: ModelPackage, settings: BatchSettings, cores: int) -> StoredPlan | None:
    """The stored plan, if it is for this machine, this model and what the user fixed."""
    if settings.plan is None or not settings.plan.is_file():
        return None
    try:
        stored = StoredPlan.model_validate_json(settings.plan.read_bytes())
    except (ValidationError, OSError) as error:
        fields = {"file": str(settings.plan), "reason": str(error)[:200]}
        _log.warning("batching plan ignored", extra={"fields": fields})
        return None
    fits = stored.machine == _machine(cores) and stored.model_version == package.version
    fixed = settings.slots in (None, stored.slots) and settings.threads in (None, stored.threads)
    return stored if fits and fixed else None


def _store(file: Path, plan: StoredPlan) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(plan.model_dump_json(indent=2) + "\n")
        temporary.replace(file)
    except OSError as error:
        _log.warning("batching plan not stored", extra={"fields": {"file": str(file), "reason": str(error)}})


def _machine(cores: int) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {cores} cores"

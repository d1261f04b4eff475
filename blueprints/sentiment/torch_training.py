"""The training loop that fine-tuning and distillation share: seeded, stopped early, and resumed after a kill.

What is random in a step depends on the seed and the number of the step alone, so a run that was killed and goes on from
its checkpoint ends with the weights of a run that was not. Checkpoints are safetensors and JSON: nothing in them is
code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from blueprints.sentiment.torch_model import has_bfloat16, shuffled_batches, trained_parameters

Progress = Callable[[int, int, str], None]
Loss = Callable[[NDArray[np.intp]], Any]
"""Loss of the training rows at these positions, a scalar tensor."""

_STATE, _TENSORS = "state.json", "tensors.safetensors"
_HEAD_FACTOR = 5.0
_WEIGHT_DECAY = 0.01
_WARM_UP = 0.1
_MAX_GRADIENT = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast is learned.

    Attributes:
        epochs: Passes over the training rows; parts of a pass count.
        learning_rate: Of the encoder after the warm-up, falling linearly to zero; the head's is five times that.
        layer_decay: What the rate is multiplied with from each layer to the one below.
        batch_size: Texts in one step.
        evaluations: Looks at the validation rows an epoch, each with a checkpoint.
        patience: Looks without a better score after which training stops.
        seed: Of the order of the rows and of dropout.
    """

    epochs: float
    learning_rate: float
    layer_decay: float
    batch_size: int
    evaluations: int
    patience: int
    seed: int


class Look(NamedTuple):
    """How good a model is on the validation rows: the share of right labels, and the score whose maximum is kept."""

    accuracy: float
    score: float


@dataclass
class _State:
    """What a checkpoint says beside its tensors."""

    step: int = 0
    best: float = -math.inf
    since_best: int = 0
    history: list[float] = field(default_factory=list)


def fit(
    model: Any,
    lengths: list[int],
    loss: Loss,
    look: Callable[[], Look],
    schedule: Schedule,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Trains a model in place and leaves it with the weights that scored best on the validation rows.

    Optimized by AdamW (Loshchilov and Hutter 2019) in one fused kernel; in bfloat16 where the processor has it, so the
    same seed gives the same weights on one kind of processor with one number of threads.

    Args:
        model: See `torch_model`.
        lengths: Tokens of each training row.
        loss: Computes the loss of a batch.
        look: Looks at the validation rows.
        schedule: How long and how fast.
        checkpoints: Folder to keep the state in and to go on from; none is kept if None.
        progress: Called with (step, steps, words).

    Returns:
        Accuracy at each look at the validation rows.
    """
    optimizer = torch.optim.AdamW(_groups(model, schedule), fused=True)
    a_pass = math.ceil(len(lengths) / schedule.batch_size)
    steps = max(1, round(schedule.epochs * a_pass))
    looks = max(1, a_pass // schedule.evaluations)
    rates = [group["lr"] for group in optimizer.param_groups]
    best, state = _load(checkpoints, model, optimizer)
    low_precision = has_bfloat16()
    for batch in _batches(lengths, schedule, state.step):
        if state.step == steps or state.since_best >= schedule.patience:
            break
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _share(state.step, steps)
        torch.manual_seed(schedule.seed * 1_000_003 + state.step)
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT)
        optimizer.step()
        state.step += 1
        words = "steps"
        if state.step % looks == 0 or state.step == steps:
            found = look()
            state.history.append(found.accuracy)
            state.since_best += 1
            if found.score > state.best:
                best = {name: tensor.detach().clone() for name, tensor in trained_parameters(model)}
                state.best, state.since_best = found.score, 0
            _save(checkpoints, model, optimizer, best, state)
            words = f"steps, accuracy {found.accuracy:.4f} on validation rows"
        if progress is not None and (words != "steps" or state.step % 20 == 0):
            progress(state.step, steps, words)
    model.load_state_dict(best, strict=False)
    return state.history


def _batches(lengths: list[int], schedule: Schedule, start: int) -> Iterator[NDArray[np.intp]]:
    """The batches from a step on, pass after pass without end."""
    epoch, position = divmod(start, math.ceil(len(lengths) / schedule.batch_size))
    while True:
        random = np.random.default_rng([schedule.seed, epoch])
        yield from shuffled_batches(lengths, schedule.batch_size, random)[position:]
        epoch, position = epoch + 1, 0


def _share(step: int, steps: int) -> float:
    """Share of the learning rate in a step: up during the first tenth, then down to zero."""
    return min(1.0, (step + 1) / (_WARM_UP * steps)) * (1 - step / steps)


def _groups(model: Any, schedule: Schedule) -> list[dict[str, Any]]:
    """One group a parameter: deeper layers learn slower, and only matrices decay."""
    layers = len(model["encoder"].encoder.layer)
    groups = []
    for name, parameter in trained_parameters(model):
        if name.startswith("head."):
            factor = _HEAD_FACTOR
        else:
            layer = int(name.split("layer.")[1].split(".")[0]) if "layer." in name else -1
            factor = schedule.layer_decay ** (layers - 1 - layer)
        decay = _WEIGHT_DECAY if parameter.dim() > 1 else 0.0
        groups.append({"params": [parameter], "lr": schedule.learning_rate * factor, "weight_decay": decay})
    return groups


def _save(folder: Path | None, model: Any, optimizer: Any, best: dict[str, Any], state: _State) -> None:
    """Keeps the state. The tensors are named by their step, so both files are of one step after a kill as well."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"best/{name}": tensor for name, tensor in best.items()}
    for name, parameter in trained_parameters(model):
        tensors[f"now/{name}"] = parameter.detach()
        for moment, tensor in optimizer.state[parameter].items():
            tensors[f"{moment}/{name}"] = tensor
    file = folder / f"{state.step}-{_TENSORS}"
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    (folder / f".{_STATE}").write_text(json.dumps(vars(state)))
    (folder / f".{_STATE}").replace(folder / _STATE)
    for old in folder.glob(f"*-{_TENSORS}"):
        if old != file:
            old.unlink()


def _load(folder: Path | None, model: Any, optimizer: Any) -> tuple[dict[str, Any], _State]:
    """The state that was kept last, put into model and optimizer; a fresh one if there is none."""
    if folder is None or not (folder / _STATE).is_file():
        return {}, _State()
    state = _State(**json.loads((folder / _STATE).read_text()))
    tensors: dict[str, dict[str, Any]] = {}
    for key, tensor in load_file(folder / f"{state.step}-{_TENSORS}").items():
        part, _, name = key.partition("/")
        tensors.setdefault(part, {})[name] = tensor
    model.load_state_dict(tensors["now"], strict=False)
    for name, parameter in trained_parameters(model):
        moments = {moment: tensors[moment][name] for moment in ("step", "exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = moments
    return tensors["best"], state

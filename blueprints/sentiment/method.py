"""How a model may be trained, told before anything is."""

from __future__ import annotations

METHODS = ("frozen", "finetuned")
LAYERS = 6
"""Layers of the encoder, all-MiniLM-L6-v2."""


def check_method(method: str, student_layers: int) -> None:
    """Refuses what no training gives.

    Args:
        method: `frozen` or `finetuned`.
        student_layers: Layers of a distilled student; 0 for none.

    Raises:
        ValueError: The method is unknown, or there can be no such student.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be {' or '.join(METHODS)}")
    if not 0 <= student_layers < LAYERS:
        raise ValueError(f"student_layers is {student_layers}; it must be 0 (no student) to {LAYERS - 1}")
    if student_layers and method == "frozen":
        raise ValueError(
            f"student_layers is {student_layers}, but method is frozen: a student is distilled from a fine-tuned "
            "model; set method to finetuned, or student_layers to 0"
        )

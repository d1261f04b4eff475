"""Changed texts, which a teacher answers for its student: more to learn from than there are examples."""

from __future__ import annotations

import numpy as np

from blueprints.sentiment.text_reader import Ids


def with_changed(windows: list[Ids], number: int, max_tokens: int, random: np.random.Generator) -> list[Ids]:
    """The texts, and after them changed ones, each text as often as another, until there are `number`."""
    result = list(windows)
    while len(result) < number:
        window = windows[len(result) % len(windows)]
        result.append(changed(window, windows[random.integers(len(windows))], max_tokens, random))
    return result


def changed(window: Ids, other: Ids, max_tokens: int, random: np.random.Generator) -> Ids:
    """A text made from two: without some tokens, a part, both joined or both cut, or some tokens from the other."""
    first, inner, last = window[:1], window[1:-1], window[-1:]
    foreign = other[1:-1]
    way = random.integers(5)
    if way == 0:
        made = inner[random.random(len(inner)) > 0.15]
    elif way == 1:
        size = random.integers(min(4, len(inner)), len(inner) + 1)
        start = random.integers(len(inner) - size + 1)
        made = inner[start : start + size]
    elif way == 2:
        made = np.concatenate([inner, foreign])
    elif way == 3:
        made = np.concatenate([inner[: random.integers(len(inner) + 1)], foreign[random.integers(len(foreign) + 1) :]])
    else:
        made = inner.copy()
        places = np.flatnonzero(random.random(len(made)) < 0.2)
        if len(foreign):
            made[places] = random.choice(foreign, len(places))
    return np.concatenate([first, (made if len(made) else inner)[: max_tokens - 2], last])

"""How a text classifier takes texts that are written otherwise: typos, case, punctuation, negation, contrast.

Perturbations keep the meaning, so the label should stay (invariance tests). The suite of small sentences has known
labels, and pairs in which one word turns the label (minimum functionality and contrast, both after Ribeiro et al. 2020,
"Beyond Accuracy: Behavioral Testing of NLP Models with CheckList").
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from blueprints.estimates import Estimate, estimate, resampled_sums
from blueprints.sentiment.examples import Examples

Classify = Callable[[Sequence[str]], NDArray[np.floating]]
"""Texts to probabilities, shape (texts, labels)."""

TYPO_RATE = 0.05
"""Share of the letters that a typo hits."""

NEGATIVE, POSITIVE = "negative", "positive"

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_GOOD = ("good", "great", "wonderful", "excellent", "funny", "brilliant", "impressive", "delightful")
_BAD = ("bad", "terrible", "awful", "boring", "disappointing", "dreadful", "annoying", "dull")
_THINGS = ("film", "story", "service")
# Pattern, and whether it keeps the sentiment of its adjective.
_PATTERNS = {
    "plain": (
        ("The {thing} is {word}.", True),
        ("What a {word} {thing}.", True),
        ("I found this {thing} {word}.", True),
    ),
    "negated": (
        ("The {thing} is not {word}.", False),
        ("The {thing} isn't {word}.", False),
        ("I would never call this {thing} {word}.", False),
        ("There is nothing {word} about this {thing}.", False),
    ),
}
_CONTRAST = "The beginning is {first}, but the {thing} is {second}."


class Perturbation(BaseModel):
    """What a change of the texts does to the answers.

    Attributes:
        name: The change.
        example: A text that it changed.
        accuracy: Share of the changed texts that is still right.
        loss: Accuracy on the same texts before minus after, paired.
        flipped: Share of the texts whose answer changed, 0 to 1.
    """

    name: str
    example: str
    accuracy: Estimate
    loss: Estimate
    flipped: float


class SuiteKind(BaseModel):
    """One kind of the small sentences with known labels.

    Attributes:
        kind: `plain positive`, `negated negative` and so on: the form, and the sentiment of the adjective in it.
        example: One of the sentences.
        expected: Its label.
        sentences: How many there are.
        accuracy: Share that is right, 0 to 1.
    """

    kind: str
    example: str
    expected: str
    sentences: int
    accuracy: float


class Robustness(BaseModel):
    """Robustness of a text classifier.

    Attributes:
        rows: Test rows that were perturbed.
        perturbations: What each perturbation does.
        negation: Results of the suite; empty for labels other than `negative` and `positive`.
        turned: Share of the pairs of a right plain sentence and its negation whose answer turns, 0 to 1; None without
            the suite.
    """

    rows: int
    perturbations: tuple[Perturbation, ...]
    negation: tuple[SuiteKind, ...] = ()
    turned: float | None = None


def measure_robustness(
    examples: Examples, probabilities: NDArray[np.floating], classify: Classify, *, rows: int = 300, seed: int = 0
) -> Robustness:
    """Perturbs test rows, asks the suite, and counts.

    Args:
        examples: Test rows.
        probabilities: The classifier's answers to them, shape (n, labels).
        classify: The classifier.
        rows: Test rows to perturb, a sample.
        seed: Seed of the sample and the typos.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(examples.texts))[:rows])
    texts, target = [examples.texts[row] for row in chosen], examples.labels[chosen]
    before = probabilities[chosen].argmax(axis=1)
    found = []
    for name, change in PERTURBATIONS.items():
        # A text's typos depend on the seed and on its place alone.
        changed = [change(text, np.random.default_rng((seed, place))) for place, text in enumerate(texts)]
        after = classify(changed).argmax(axis=1)
        different = next((i for i, (old, new) in enumerate(zip(texts, changed, strict=True)) if old != new), 0)
        found.append(
            Perturbation(
                name=name,
                example=changed[different],
                accuracy=_share(after == target, seed),
                loss=_share((before == target).astype(float) - (after == target), seed),
                flipped=float(np.mean(before != after)),
            )
        )
    suite, turned = _ask_suite(classify, examples.names)
    return Robustness(rows=len(chosen), perturbations=tuple(found), negation=suite, turned=turned)


def neighbouring_keys(text: str, rng: np.random.Generator) -> str:
    """Some letters replaced by one beside them on a keyboard."""
    return "".join(_with_case(str(rng.choice(_NEIGHBOURS[letter.lower()])), letter) if hit else letter
                   for letter, hit in _hits(text, rng))  # fmt: skip


def dropped_letters(text: str, rng: np.random.Generator) -> str:
    """Some letters left out; never all of a text."""
    return "".join("" if hit else letter for letter, hit in _hits(text, rng)) or text


def doubled_letters(text: str, rng: np.random.Generator) -> str:
    """Some letters written twice."""
    return "".join(letter * (1 + hit) for letter, hit in _hits(text, rng))


def without_punctuation(text: str, _: np.random.Generator) -> str:
    """Without punctuation marks, apostrophes excepted; unchanged if nothing else were left."""
    kept = text.translate(str.maketrans("", "", string.punctuation.replace("'", "")))
    return " ".join(kept.split()) or text


PERTURBATIONS: dict[str, Callable[[str, np.random.Generator], str]] = {
    "neighbouring keys": neighbouring_keys,
    "dropped letters": dropped_letters,
    "doubled letters": doubled_letters,
    "upper case": lambda text, _: text.upper(),
    "no punctuation": without_punctuation,
}
"""Changes that keep the meaning, by name."""


def suite() -> list[tuple[str, str, str]]:
    """The small sentences: kind, sentence and label each."""
    sentences = []
    for form, patterns in _PATTERNS.items():
        for pattern, keeps in patterns:
            for sentiment, words in ((POSITIVE, _GOOD), (NEGATIVE, _BAD)):
                label = sentiment if keeps else _OPPOSITE[sentiment]
                sentences += [
                    (f"{form} {sentiment}", _articles(pattern.format(thing=thing, word=word)), label)
                    for thing in _THINGS
                    for word in words
                ]
    for first, second, label in ((_BAD, _GOOD, POSITIVE), (_GOOD, _BAD, NEGATIVE)):
        sentences += [
            (f"but {label}", _CONTRAST.format(first=one, second=other, thing=thing), label)
            for thing in _THINGS
            for one, other in zip(first, second, strict=True)
        ]
    return sentences


def _ask_suite(classify: Classify, names: Sequence[str]) -> tuple[tuple[SuiteKind, ...], float | None]:
    if set(names) != {NEGATIVE, POSITIVE}:
        return (), None
    sentences = suite()
    codes = classify([sentence for _, sentence, _ in sentences]).argmax(axis=1)
    answers = {sentence: names[code] for (_, sentence, _), code in zip(sentences, codes, strict=True)}
    kinds = []
    for kind in dict.fromkeys(kind for kind, _, _ in sentences):
        mine = [(sentence, label) for of, sentence, label in sentences if of == kind]
        right = [answers[sentence] == label for sentence, label in mine]
        kinds.append(
            SuiteKind(
                kind=kind,
                example=mine[0][0],
                expected=mine[0][1],
                sentences=len(mine),
                accuracy=float(np.mean(right)),
            )
        )
    turned = [
        answers[plain.replace(" is ", " is not ")] != answers[plain]
        for kind, plain, label in sentences
        if kind.startswith("plain") and " is " in plain and answers[plain] == label
    ]
    return tuple(kinds), float(np.mean(turned)) if turned else None


def _hits(text: str, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """Each character, and whether a typo hits it: letters of the keyboard only."""
    return [(letter, letter.lower() in _NEIGHBOURS and bool(rng.random() < TYPO_RATE)) for letter in text]


def _with_case(letter: str, like: str) -> str:
    return letter.upper() if like.isupper() else letter


def _articles(sentence: str) -> str:
    """`What a awful film` with its right article."""
    words = sentence.split()
    pairs = zip(words, [*words[1:], ""], strict=True)
    return " ".join("an" if word == "a" and after[:1] in "aeiou" and after else word for word, after in pairs)


def _share(values: NDArray[np.floating] | NDArray[np.bool_], seed: int) -> Estimate:
    numbers = np.asarray(values, np.float64)
    return estimate(float(numbers.mean()), resampled_sums(numbers[:, None], seed=seed)[:, 0] / len(numbers))


_OPPOSITE = {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}
_NEIGHBOURS = {
    letter: [*row[max(0, place - 1) : place], *row[place + 1 : place + 2]]
    for row in _KEYS
    for place, letter in enumerate(row)
}

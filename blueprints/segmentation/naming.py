"""Short names for segments, from what sets their customers apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from blueprints.schema import Column
from blueprints.segmentation.profiles import MOSTLY, FeatureProfile, Profiles, SegmentProfile, show, show_share
from blueprints.segmentation.segments import LONGEST, Trait

STRONG = 0.33
"""Cliff's delta from which a feature sets a segment apart; the border of a medium effect (Romano et al. 2006)."""

HOLDS = 0.147
"""Cliff's delta down to which a trait that was given still holds; the border of a negligible effect (same source)."""

MOST_TRAITS = 3
"""Features that a name speaks of at most."""

Grades = tuple[str, str, str, str]
"""A word plainly, in a lesser grade, in a greater one and in the greatest: big, fairly big, very big, biggest."""

# A difference between the means of two segments, in standard deviations, that is worth a word.
_NOTICED = 0.05
# A mean up to which practically every count is one.
_ALL_ONE = 1.05

_PLAIN, _LESS, _MORE, _MOST = range(4)
_LEVELS: Mapping[str, Grades] = {
    "low": ("low", "fairly low", "very low", "lowest"),
    "high": ("high", "fairly high", "very high", "highest"),
}


class Words(NamedTuple):
    """How a name speaks of a feature.

    Attributes:
        low: What it says where the feature is low, and graded among otherwise equal segments.
        high: The same upwards.
        part: Where it says so: an adjective before the noun, the noun, or a phrase with "with" after it.
        topic: Features of one topic say the same; a name speaks of the strongest.
        one: What it says where practically every value is 1.
    """

    low: Grades
    high: Grades
    part: str
    topic: str
    one: str = ""


def _graded(word: str, most: str = "") -> Grades:
    return word, f"fairly {word}", f"very {word}", most or f"most {word}"


# In the order in which adjectives stand.
BEHAVIOUR: Mapping[str, Words] = {
    "tenure_days": Words(
        _graded("new", "newest"), _graded("long-standing", "longest-standing"), "adjective", "tenure"
    ),
    "recency_days": Words(_graded("recent"), _graded("lapsed"), "adjective", "recency"),
    "frequency": Words(_graded("occasional"), _graded("frequent"), "adjective", "frequency", one="one-time"),
    "distinct_days": Words(_graded("occasional"), _graded("frequent"), "adjective", "frequency", one="one-day"),
    "monetary": Words(
        _graded("small spenders", "smallest spenders"), _graded("big spenders", "biggest spenders"), "noun", "monetary"
    ),
    "average_amount": Words(
        _graded("small orders", "smallest orders"), _graded("big orders", "biggest orders"), "with", "amount"
    ),
    "average_quantity": Words(
        _graded("few items an order", "fewest items an order"), _graded("many items an order", "most items an order"),
        "with", "amount",
    ),
    "amount_deviation": Words(_graded("even amounts"), _graded("varied amounts"), "with", "spread"),
    "mean_gap_days": Words(
        _graded("short pauses", "shortest pauses"), _graded("long pauses", "longest pauses"), "with", "rhythm"
    ),
    "gap_deviation": Words(_graded("regular pauses"), _graded("irregular pauses"), "with", "rhythm"),
}  # fmt: skip
"""Words for the features of purchases; a name says "high" and "low" of every other column."""


@dataclass(frozen=True)
class Naming:
    """What a segment is called.

    Attributes:
        name: Unique among the names that it was made with.
        description: One sentence with the figures behind the name.
        traits: What the name says, strongest first; empty if nothing sets the segment apart.
    """

    name: str
    description: str
    traits: tuple[Trait, ...]


def name_segments(
    profiles: Profiles,
    columns: Sequence[Column],
    *,
    kept: Mapping[int, tuple[str, tuple[Trait, ...]]] | None = None,
    words: Mapping[str, Words] = BEHAVIOUR,
) -> tuple[Naming, ...]:
    """Names each segment by its strongest traits, in whatever order the segments come.

    Segments of the same traits are told apart by the feature that they differ in most, and by a number if in none.

    Args:
        profiles: The segments.
        columns: The features; their titles and units are what names and descriptions speak in.
        kept: Names, with their traits, that segments have already; by place in `profiles`.
        words: How names speak of certain features.

    Returns:
        One a segment, in the order of the profiles.
    """
    kept = kept or {}
    by_name = {column.name: column for column in columns}
    traits = [find_traits(segment, words) for segment in profiles.segments]
    speaker = _Speaker(profiles, by_name, words)
    names = {place: name for place, (name, _) in kept.items()}
    groups: dict[str, list[int]] = defaultdict(list)
    for place, found in enumerate(traits):
        if place not in names:
            groups[speaker.phrase(place, found)].append(place)
    for plain, places in groups.items():
        same = set(traits[places[0]])
        alike = [place for place, (name, said) in kept.items() if name == plain or (said and set(said) == same)]
        for place, name in speaker.told_apart(places, traits[places[0]], alike).items():
            names[place] = _unique(name, names.values())
    return tuple(
        Naming(
            name=names[place],
            description=describe(profiles, place, by_name, found),
            traits=kept[place][1] if place in kept else found,
        )
        for place, found in enumerate(traits)
    )


def find_traits(segment: SegmentProfile, words: Mapping[str, Words] = BEHAVIOUR) -> tuple[Trait, ...]:
    """The features that set a segment apart, strongest first, at most `MOST_TRAITS`, one a topic.

    A feature that most customers of the segment have no value of sets nobody apart. Strengths are compared in tenths,
    and of equal ones the earlier feature comes first: names do not change with noise.
    """
    strengths = {name: one.dominance or 0.0 for name, one in segment.features.items() if one.missing <= MOSTLY}
    ranked = sorted(
        (name for name, strength in strengths.items() if abs(strength) >= STRONG),
        key=lambda name: -round(abs(strengths[name]), 1),
    )
    chosen: dict[str, Trait] = {}
    for name in ranked:
        chosen.setdefault(_topic(name, words), Trait(feature=name, level="high" if strengths[name] > 0 else "low"))
    return tuple(chosen.values())[:MOST_TRAITS]


def traits_hold(traits: Sequence[Trait], segment: SegmentProfile) -> bool:
    """Whether each trait can still be said of a segment, if more weakly; True without any."""
    for trait in traits:
        one = segment.features.get(trait.feature)
        strength = (one.dominance or 0.0) if one else 0.0
        if (strength if trait.level == "high" else -strength) < HOLDS:
            return False
    return True


def describe(profiles: Profiles, place: int, columns: Mapping[str, Column], traits: Sequence[Trait]) -> str:
    """A segment's share, and the medians that its name speaks of beside those of all customers."""
    segment = profiles.segments[place]
    features = [trait.feature for trait in traits] or list(segment.features)[:MOST_TRAITS]
    parts = [
        f"{columns[name].label} {show(segment.features[name].median, columns[name])} "
        f"({show(profiles.overall[name].median)})"
        for name in features
    ]
    return f"{show_share(segment.share)} of all customers. Medians, in brackets those of all: {', '.join(parts)}."


class _Speaker:
    """Builds names."""

    def __init__(self, profiles: Profiles, columns: Mapping[str, Column], words: Mapping[str, Words]) -> None:
        self._profiles, self._columns, self._words = profiles, columns, words
        self._order = {name: place for place, name in enumerate(words)}

    def phrase(self, place: int, traits: Sequence[Trait], graded: str = "", grade: int = _PLAIN) -> str:
        """A segment's traits in words: adjectives, a noun, what it comes with, and the features without words.

        Args:
            place: The segment.
            traits: What to say.
            graded: The feature that is said in another grade than the plain one.
            grade: Place of that grade in `Grades`.
        """
        parts: dict[str, list[str]] = defaultdict(list)
        for trait in sorted(traits, key=lambda one: self._order.get(one.feature, len(self._order))):
            here = grade if trait.feature == graded else _PLAIN
            words = self._words.get(trait.feature)
            if words is None:
                parts["plain"].append(f"{_LEVELS[trait.level][here]} {self._columns[trait.feature].label}")
                continue
            if words.one and trait.level == "low" and self._all_one(place, trait.feature):
                parts[words.part].append(words.one)
            else:
                parts[words.part].append((words.low if trait.level == "low" else words.high)[here])
        if not traits:
            return "average customers"
        named = [*parts["adjective"], *(parts["noun"] or ["buyers"])] if set(parts) - {"plain"} else []
        sentence = " ".join(named)
        if parts["with"]:
            sentence += f" with {' and '.join(parts['with'])}"
        return ", ".join([sentence, *parts["plain"]] if sentence else parts["plain"])

    def told_apart(self, places: Sequence[int], traits: Sequence[Trait], holders: Sequence[int]) -> dict[int, str]:
        """Names of segments that have the same traits, beside those that hold the plain name already."""
        plain = self.phrase(places[0], traits)
        group = [*holders, *places]
        if len(group) == 1:
            return {places[0]: plain}
        feature, values = self._widest(group)
        if not feature:
            return dict.fromkeys(places, plain)
        topic = _topic(feature, self._words)
        trait = next((one for one in traits if _topic(one.feature, self._words) == topic), None)
        if trait is None or holders:
            return {place: f"{plain}, {word}" for place, word in self._compared(feature, values) if place in places}
        outward = sorted(values, key=lambda place: -values[place] if trait.level == "high" else values[place])
        grades = dict(zip(outward, (_MOST, _MORE), strict=False)) if len(group) > 2 else {outward[0]: _MOST}
        if len(group) > 3:
            grades[outward[-1]] = _LESS
        return {place: self.phrase(place, traits, trait.feature, grades.get(place, _PLAIN)) for place in outward}

    def _widest(self, group: Sequence[int]) -> tuple[str, dict[int, float]]:
        """The feature that segments differ in most, and its mean in each; no feature if they differ in none."""
        best, found, spread = "", dict[int, float](), _NOTICED
        for feature in self._profiles.features:
            values = {place: self._feature(place, feature).difference for place in group}
            there = {place: value for place, value in values.items() if value is not None}
            if len(there) == len(group) and np.ptp(list(there.values())) > spread:
                best, found, spread = feature, there, float(np.ptp(list(there.values())))
        return best, found

    def _compared(self, feature: str, values: Mapping[int, float]) -> Iterator[tuple[int, str]]:
        """Each segment beside the others of its group, in a feature that their common name does not speak of."""
        title = self._columns[feature].label
        ranked = sorted(values, key=lambda place: values[place])
        pair = len(ranked) == 2
        for rank, place in enumerate(ranked):
            if rank == 0:
                yield place, f"{'lower' if pair else 'lowest'} {title}"
            elif rank == len(ranked) - 1:
                yield place, f"{'higher' if pair else 'highest'} {title}"
            else:
                yield place, f"middling {title}"

    def _all_one(self, place: int, feature: str) -> bool:
        mean = self._feature(place, feature).mean
        return mean is not None and 1 <= mean <= _ALL_ONE

    def _feature(self, place: int, feature: str) -> FeatureProfile:
        return self._profiles.segments[place].features[feature]


def _topic(feature: str, words: Mapping[str, Words]) -> str:
    return words[feature].topic if feature in words else feature


def _unique(name: str, taken: Collection[str]) -> str:
    """The name, cut to the longest that a segment may have, with a number if it is taken."""
    free = name if len(name) <= LONGEST else f"{name[: LONGEST - 1].rstrip()}…"
    number = 1
    while free in taken:
        number += 1
        free = f"{name[: LONGEST - 6].rstrip()} ({number})"
    return free

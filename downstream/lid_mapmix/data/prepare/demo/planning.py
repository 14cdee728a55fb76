"""The plan of the demo corpus: the texts of the utterances of a cluster.

A phrase is a meaning without words: a date, or an amount of a currency. Each locale has its own words for it, from
Unicode's CLDR through Babel, so the dialects of a cluster have the same phrases. Terms, numbers and dates are first
divided between train, dev and test, so that no phrase of one split can be drawn in another. Then phrases are drawn once
for all dialects of the cluster.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from babel import Locale
from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_currency
from babel.units import format_unit

from ....utils.randomness import keyed_generator
from ... import SPLITS
from . import espeak
from .demo import SPEAKERS, Dialect
from .making import PlannedUtterance

# Of utterances, for dev and test; of terms, for train, dev and test.
HELD_OUT_FRACTIONS = (0.11, 0.23)
TERM_FRACTIONS = (0.5, 0.2, 0.3)
PHRASES_PER_UTTERANCE = 3
NUMBERS = range(2, 1000)
DATES = range(datetime.date(1950, 1, 1).toordinal(), datetime.date(2050, 1, 1).toordinal())
# Common units; CLDR has many more, such as inches of mercury.
_UNITS = {
    "angle": ("degree",),
    "area": ("hectare", "square-kilometer", "square-meter"),
    "concentr": ("karat", "percent"),
    "digital": ("bit", "byte", "megabyte"),
    "duration": ("day", "hour", "minute", "month", "second", "week", "year"),
    "electric": ("ampere", "volt"),
    "energy": ("joule", "kilocalorie"),
    "frequency": ("hertz",),
    "length": ("centimeter", "foot", "inch", "kilometer", "meter", "mile", "millimeter", "yard"),
    "mass": ("gram", "kilogram", "milligram", "ounce", "pound", "tonne"),
    "power": ("horsepower", "kilowatt", "watt"),
    "speed": ("kilometer-per-hour", "mile-per-hour"),
    "temperature": ("celsius", "fahrenheit"),
    "volume": ("cubic-meter", "cup", "gallon", "liter", "milliliter", "tablespoon", "teaspoon"),
}
# Uncommon names are often long, or have a year or an explanation in parentheses.
_MAX_CHARACTERS = 32
_NOT_SAID = re.compile(r"[\d()\[\]/–]")
_LIST_LENGTH = 3


class Kind(StrEnum):
    """The kind of a phrase."""

    DATE = "date"
    MEASURE = "measure"
    PRICE = "price"
    TERRITORIES = "territories"
    LANGUAGES = "languages"


@dataclass(frozen=True)
class Phrase:
    """A phrase."""

    kind: Kind
    terms: tuple[str, ...]  # CLDR's keys: a unit, a currency, several territories or languages; empty for a date
    number: int  # the amount, or the day's ordinal for a date; 0 for lists


@dataclass(frozen=True)
class Vocabulary:
    """The parts that phrases are drawn from."""

    terms: dict[Kind, tuple[str, ...]]  # kind → CLDR's keys; a date needs none
    numbers: tuple[int, ...]  # amounts
    dates: tuple[int, ...]  # ordinals of days


def plan_cluster(cluster: str, dialects: Sequence[Dialect], utterances: int, seed: int) -> Iterator[PlannedUtterance]:
    """Plan texts and speakers of a cluster, whose name keys its draws; `utterances`: per dialect, over all splits."""
    locales = [Locale.parse(dialect.locale) for dialect in dialects]
    sayable = set.intersection(*map(sayable_terms, dialects))
    held_out = [max(1, round(fraction * utterances)) for fraction in HELD_OUT_FRACTIONS]
    counts = dict(zip(SPLITS, (utterances - sum(held_out), *held_out), strict=True))
    for split, vocabulary in _vocabularies(cluster, sayable, seed).items():
        for index in range(counts[split]):
            generator = keyed_generator(seed, f"phrases {cluster} {split}", index)
            kinds = generator.permutation(list(Kind))[:PHRASES_PER_UTTERANCE]
            phrases = [draw_phrase(Kind(kind), vocabulary, generator) for kind in kinds]
            speaker = SPEAKERS[split][index % len(SPEAKERS[split])]
            for dialect, locale in zip(dialects, locales, strict=True):
                identifier = f"{dialect.name}-{split}-{index:04d}-{speaker}"
                # Russian dates end in an abbreviation with a full stop.
                text = " ".join(f"{render(phrase, locale).removesuffix('.')}." for phrase in phrases)
                yield PlannedUtterance(identifier, dialect, split, index, speaker, text)


def sayable_terms(dialect: Dialect) -> set[tuple[Kind, str]]:
    """Return the terms that a dialect has plain words for, which eSpeak does not read in another language."""
    locale = Locale.parse(dialect.locale)
    candidates = candidate_phrases(locale)
    spoken = espeak.phonemes([render(phrase, locale) for phrase in candidates], dialect.language)
    return {
        (phrase.kind, phrase.terms[0])
        for phrase, pronunciation in zip(candidates, spoken, strict=True)
        if "(" not in pronunciation
    }


def _vocabularies(cluster: str, sayable: set[tuple[Kind, str]], seed: int) -> dict[str, Vocabulary]:
    """Divide terms, numbers and dates between the splits."""

    def divide(name: str, values: Iterable) -> list[tuple]:
        shuffled = keyed_generator(seed, f"vocabulary {cluster} {name}").permutation(sorted(values)).tolist()
        ends = np.rint(np.cumsum(TERM_FRACTIONS) * len(shuffled)).astype(int)
        return [tuple(shuffled[start:end]) for start, end in zip((0, *ends[:-1]), ends, strict=True)]

    terms = {kind: divide(kind, {key for of, key in sayable if of is kind}) for kind in Kind if kind is not Kind.DATE}
    numbers, dates = divide("numbers", NUMBERS), divide("dates", DATES)
    return {
        split: Vocabulary({kind: parts[number] for kind, parts in terms.items()}, numbers[number], dates[number])
        for number, split in enumerate(SPLITS)
    }


def draw_phrase(kind: Kind, vocabulary: Vocabulary, generator: np.random.Generator) -> Phrase:
    """Draw a phrase of one kind."""
    if kind is Kind.DATE:
        return Phrase(kind, (), int(generator.choice(vocabulary.dates)))
    listed = kind in (Kind.TERRITORIES, Kind.LANGUAGES)
    terms = generator.choice(vocabulary.terms[kind], _LIST_LENGTH if listed else 1, replace=False)
    return Phrase(kind, tuple(map(str, terms)), 0 if listed else int(generator.choice(vocabulary.numbers)))


def render(phrase: Phrase, locale: Locale) -> str:
    """Return a phrase in the words of a locale."""
    match phrase.kind:
        case Kind.DATE:
            return format_date(datetime.date.fromordinal(phrase.number), "full", locale)
        case Kind.MEASURE:
            number, unit = phrase.number, phrase.terms[0]
            words = format_unit(number, unit, "long", locale=locale)
            # If a locale's long and short forms are equal, CLDR has only the short one and Babel returns the key.
            return format_unit(number, unit, "short", locale=locale) if unit in words else words
        case Kind.PRICE:
            # The pattern suppresses cents, which are read as a decimal fraction.
            return format_currency(
                phrase.number, phrase.terms[0], "0", locale, currency_digits=False, format_type="name"
            )
        case Kind.TERRITORIES:
            return format_list([locale.territories[term] for term in phrase.terms], locale=locale)
        case Kind.LANGUAGES:
            return format_list([locale.languages[term] for term in phrase.terms], locale=locale)


def candidate_phrases(locale: Locale) -> list[Phrase]:
    """Return one phrase per term that a locale has short and plain words for."""
    terms = {
        Kind.MEASURE: [f"{quantity}-{unit}" for quantity, units in _UNITS.items() for unit in units],
        # Codes with X are those of metals and funds.
        Kind.PRICE: _keys(locale.currencies, "[A-WYZ][A-Z]{2}"),
        # Other keys are those of continents, tests and unknown places; and of languages as spoken in some country.
        Kind.TERRITORIES: _keys(locale.territories, "[A-WY][A-Y]"),
        Kind.LANGUAGES: _keys(locale.languages, "[a-z]{2}"),
    }
    phrases = [
        Phrase(kind, (key,), 0 if kind in (Kind.TERRITORIES, Kind.LANGUAGES) else NUMBERS[0])
        for kind, keys in terms.items()
        for key in sorted(keys)
    ]
    return [phrase for phrase in phrases if _plain(phrase, locale)]


def _keys(names: Iterable[str], pattern: str) -> list[str]:
    return [key for key in names if re.fullmatch(pattern, key)]


def _plain(phrase: Phrase, locale: Locale) -> bool:
    text = render(phrase, locale)
    name = text.removeprefix(str(phrase.number)) if phrase.number else text
    return phrase.terms[0] not in text and len(text) <= _MAX_CHARACTERS and not _NOT_SAID.search(name)

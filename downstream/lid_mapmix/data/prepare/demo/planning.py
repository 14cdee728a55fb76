"""What the demo corpus says: the utterances of a cluster, before anybody speaks.

A phrase says what is meant, without words: a date, or an amount of a currency. Each locale has its own words for it,
from Unicode's CLDR as Babel has them, so the dialects of a cluster say the same phrases. Terms, numbers and dates are
divided between train, dev and test first, so that no phrase of one split can be drawn in another. Then phrases are
drawn once for all dialects of the cluster.
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

# Of train, dev and test.
UTTERANCE_SHARES = (0.66, 0.11, 0.23)
TERM_SHARES = (0.5, 0.2, 0.3)
PHRASES_PER_UTTERANCE = 3
NUMBERS = range(2, 1000)
DATES = range(datetime.date(1950, 1, 1).toordinal(), datetime.date(2050, 1, 1).toordinal())
# The measures people know; CLDR has many more, such as inches of mercury.
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
# An uncommon name is often a long one, or has a year or an explanation in parentheses that nobody says.
_MOST_CHARACTERS = 32
_NOT_SAID = re.compile(r"[\d()\[\]/–]")
_LIST_LENGTH = 3


class Kind(StrEnum):
    """What a phrase is about."""

    DATE = "date"
    MEASURE = "measure"
    PRICE = "price"
    TERRITORIES = "territories"
    LANGUAGES = "languages"


@dataclass(frozen=True)
class Phrase:
    """One thing to say.

    Attributes
    ----------
    kind : what it is about.
    terms : CLDR's keys of what is named: a unit, a currency, some territories or languages; nothing for a date.
    number : the amount, or the day's ordinal for a date; 0 for lists.
    """

    kind: Kind
    terms: tuple[str, ...]
    number: int


@dataclass(frozen=True)
class Vocabulary:
    """What phrases may be made of.

    Attributes
    ----------
    terms : kind → CLDR's keys; a date needs none.
    numbers : amounts.
    dates : ordinals of days.
    """

    terms: dict[Kind, tuple[str, ...]]
    numbers: tuple[int, ...]
    dates: tuple[int, ...]


def plan_cluster(cluster: str, dialects: Sequence[Dialect], utterances: int, seed: int) -> Iterator[PlannedUtterance]:
    """Decide what the dialects of a cluster say, and who says it.

    Parameters
    ----------
    cluster : its name, by which its draws are keyed.
    dialects : its dialects.
    utterances : utterances a dialect, all splits together.
    seed : the corpus's seed.
    """
    locales = [Locale.parse(dialect.locale) for dialect in dialects]
    sayable = set.intersection(*map(sayable_terms, dialects))
    counts = _split_counts(utterances)
    for split, vocabulary in _vocabularies(cluster, sayable, seed).items():
        for index in range(counts[split]):
            generator = keyed_generator(seed, f"phrases {cluster} {split}", index)
            kinds = generator.permutation(list(Kind))[:PHRASES_PER_UTTERANCE]
            phrases = [draw_phrase(Kind(kind), vocabulary, generator) for kind in kinds]
            speaker = SPEAKERS[split][index % len(SPEAKERS[split])]
            for dialect, locale in zip(dialects, locales, strict=True):
                identifier = f"{dialect.name}-{split}-{index:04d}-{speaker}"
                yield PlannedUtterance(identifier, dialect, split, index, speaker, _join(phrases, locale))


def sayable_terms(dialect: Dialect) -> set[tuple[Kind, str]]:
    """Return what a dialect has plain words for that eSpeak does not read in another language."""
    locale = Locale.parse(dialect.locale)
    candidates = candidate_phrases(locale)
    spoken = espeak.phonemes([render(phrase, locale) for phrase in candidates], dialect.language)
    return {
        (phrase.kind, phrase.terms[0])
        for phrase, pronunciation in zip(candidates, spoken, strict=True)
        if "(" not in pronunciation
    }


def _split_counts(utterances: int) -> dict[str, int]:
    held_out = [max(1, round(share * utterances)) for share in UTTERANCE_SHARES[1:]]
    return dict(zip(SPLITS, (utterances - sum(held_out), *held_out), strict=True))


def _vocabularies(cluster: str, sayable: set[tuple[Kind, str]], seed: int) -> dict[str, Vocabulary]:
    """Divide terms, numbers and dates between the splits."""

    def divide(name: str, values: Iterable) -> list[tuple]:
        return divide_evenly(values, TERM_SHARES, keyed_generator(seed, f"vocabulary {cluster} {name}"))

    terms = {kind: divide(kind, {key for of, key in sayable if of is kind}) for kind in Kind if kind is not Kind.DATE}
    numbers, dates = divide("numbers", NUMBERS), divide("dates", DATES)
    return {
        split: Vocabulary({kind: parts[number] for kind, parts in terms.items()}, numbers[number], dates[number])
        for number, split in enumerate(SPLITS)
    }


def _join(phrases: Sequence[Phrase], locale: Locale) -> str:
    # Russian dates end in an abbreviation's full stop.
    return " ".join(f"{render(phrase, locale).removesuffix('.')}." for phrase in phrases)


def draw_phrase(kind: Kind, vocabulary: Vocabulary, generator: np.random.Generator) -> Phrase:
    """Draw a phrase of one kind."""
    if kind is Kind.DATE:
        return Phrase(kind, (), int(generator.choice(vocabulary.dates)))
    listed = kind in (Kind.TERRITORIES, Kind.LANGUAGES)
    terms = generator.choice(vocabulary.terms[kind], _LIST_LENGTH if listed else 1, replace=False)
    return Phrase(kind, tuple(map(str, terms)), 0 if listed else int(generator.choice(vocabulary.numbers)))


def render(phrase: Phrase, locale: Locale) -> str:
    """Return the words of a locale for a phrase."""
    match phrase.kind:
        case Kind.DATE:
            return format_date(datetime.date.fromordinal(phrase.number), "full", locale)
        case Kind.MEASURE:
            return _measure(phrase.number, phrase.terms[0], locale)
        case Kind.PRICE:
            # The pattern keeps cents away: they are read as a decimal fraction.
            return format_currency(
                phrase.number, phrase.terms[0], "0", locale, currency_digits=False, format_type="name"
            )
        case Kind.TERRITORIES:
            return format_list([locale.territories[term] for term in phrase.terms], locale=locale)
        case Kind.LANGUAGES:
            return format_list([locale.languages[term] for term in phrase.terms], locale=locale)


def candidate_phrases(locale: Locale) -> list[Phrase]:
    """Return one phrase for each term that a locale has short and plain words for."""
    terms = {
        Kind.MEASURE: [f"{quantity}-{unit}" for quantity, units in _UNITS.items() for unit in units],
        # Codes with X are of metals and funds.
        Kind.PRICE: _keys(locale.currencies, "[A-WYZ][A-Z]{2}"),
        # Other keys are of continents, of tests and of places unknown; and of languages as some country speaks them.
        Kind.TERRITORIES: _keys(locale.territories, "[A-WY][A-Y]"),
        Kind.LANGUAGES: _keys(locale.languages, "[a-z]{2}"),
    }
    phrases = [
        Phrase(kind, (key,), 0 if kind in (Kind.TERRITORIES, Kind.LANGUAGES) else NUMBERS[0])
        for kind, keys in terms.items()
        for key in sorted(keys)
    ]
    return [phrase for phrase in phrases if _plain(phrase, locale)]


def divide_evenly(values: Iterable, shares: tuple[float, ...], generator: np.random.Generator) -> list[tuple]:
    """Shuffle values and cut them into disjoint parts of about these shares, which add up to 1."""
    shuffled = generator.permutation(sorted(values)).tolist()
    ends = np.rint(np.cumsum(shares) * len(shuffled)).astype(int)
    return [tuple(shuffled[start:end]) for start, end in zip((0, *ends[:-1]), ends, strict=True)]


def _keys(names: Iterable[str], pattern: str) -> list[str]:
    return [key for key in names if re.fullmatch(pattern, key)]


def _measure(number: int, unit: str, locale: Locale) -> str:
    words = format_unit(number, unit, "long", locale=locale)
    # Where a locale writes long and short forms alike, CLDR has the short one only and Babel returns the key.
    return format_unit(number, unit, "short", locale=locale) if unit in words else words


def _plain(phrase: Phrase, locale: Locale) -> bool:
    text = render(phrase, locale)
    name = text.removeprefix(str(phrase.number)) if phrase.number else text
    return phrase.terms[0] not in text and len(text) <= _MOST_CHARACTERS and not _NOT_SAID.search(name)

"""Things to say, in any language: dates, prices, measures and lists of names from Unicode's CLDR, as Babel has them.

A phrase says what is meant, without words: a date, or an amount of a currency. Each locale has its own words for it, so
the dialects of a cluster say the same phrases.
"""

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from babel import Locale
from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_currency
from babel.units import format_unit

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

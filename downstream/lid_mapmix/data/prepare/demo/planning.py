"""What the demo corpus says: the utterances of a cluster, before anybody speaks.

Terms, numbers and dates are divided between train, dev and test first, so that no phrase of one split can be drawn in
another. Then phrases are drawn once for all dialects of the cluster.
"""

from collections.abc import Iterable, Iterator, Sequence

from babel import Locale

from ....utils.randomness import keyed_generator
from ..steps.corpus import SPLITS
from . import espeak
from .dialects import SPEAKERS, Dialect
from .phrases import DATES, NUMBERS, Kind, Phrase, Vocabulary, candidate_phrases, divide_evenly, draw_phrase, render
from .utterance import Utterance

# Of train, dev and test.
UTTERANCE_SHARES = (0.66, 0.11, 0.23)
TERM_SHARES = (0.5, 0.2, 0.3)
PHRASES_PER_UTTERANCE = 3


def plan_cluster(cluster: str, dialects: Sequence[Dialect], utterances: int, seed: int) -> Iterator[Utterance]:
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
                yield Utterance(identifier, dialect, split, index, speaker, _join(phrases, locale))


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

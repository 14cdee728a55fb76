"""Log-likelihoods of utterances, drawn from a seed, of classifiers that are unsure, sure and too sure."""

import numpy as np
from scipy.special import log_softmax


def scored(seed, count=40, classes=4, absent=(), ties=False):
    generator = np.random.default_rng(seed)
    truth = generator.choice(np.setdiff1d(np.arange(classes), absent), count)
    logits = generator.normal(size=(count, classes)) * generator.choice([0.3, 2, 10])
    logits[np.arange(count), truth] += 1
    return log_softmax(np.round(logits) if ties else logits, axis=1), truth


def scored_of_three(seed, count=60, signal=1.0, absent=()):
    generator = np.random.default_rng(seed)
    truth = generator.choice(np.setdiff1d(np.arange(3), absent), count)
    truth[:2] = np.setdiff1d(np.arange(3), absent)[:2]
    logits = generator.normal(size=(count, 3)) * 2
    logits[np.arange(count), truth] += signal
    return log_softmax(logits, axis=1), truth

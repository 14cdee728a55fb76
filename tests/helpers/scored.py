"""Log-likelihoods of utterances, drawn from a seed, of classifiers that are unsure, sure and too sure."""

import numpy as np
from scipy.special import log_softmax


def scored(seed, count=40, classes=4, absent=(), ties=False):
    generator = np.random.default_rng(seed)
    truth = generator.choice(np.setdiff1d(np.arange(classes), absent), count)
    logits = generator.normal(size=(count, classes)) * generator.choice([0.3, 2, 10])
    logits[np.arange(count), truth] += 1
    return log_softmax(np.round(logits) if ties else logits, axis=1), truth

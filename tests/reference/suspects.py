"""What a list of suspects is made of, utterance by utterance in plain Python."""

import math
from collections import Counter


def surprise_of(probabilities, target_classes):
    """Return the surprise of each utterance; `probabilities` has a list an utterance, of its epochs' values."""
    means = [-sum(math.log(max(p, 2.0**-23)) for p in row) / len(row) for row in probabilities]
    result = []
    for mean, own in zip(means, target_classes, strict=True):
        same = [other for other, label in zip(means, target_classes, strict=True) if label == own]
        result.append(mean - sum(same) / len(same))
    return result


def preferred_of(answers, label):
    """Return the answer, other than the label, given most often, the latest among equals, and its share."""
    others = [answer for answer in answers if answer != label]
    if not others:
        return None, 0.0
    counts = Counter(others)
    most = max(counts.values())
    latest = next(answer for answer in reversed(others) if counts[answer] == most)
    return latest, most / len(answers)

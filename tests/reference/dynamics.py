"""The measures of the data map, utterance by utterance and epoch by epoch."""

import statistics


def measures_of(probabilities, correct):
    """Return the measures of one utterance from its epochs' values, as a dict; forgetfulness None where never right."""
    count = len(probabilities)
    confidence = sum(map(float, probabilities)) / count
    forgotten, previous = 0, False
    for right in correct:
        if previous and not right:
            forgotten += 1
        previous = right
    return {
        "confidence": confidence,
        "variability": statistics.pstdev(map(float, probabilities)),
        "correctness": sum(map(bool, correct)) / count,
        "threshold_closeness": confidence * (1 - confidence),
        "forgetfulness": forgotten if any(correct) else None,
        "epochs": count,
    }

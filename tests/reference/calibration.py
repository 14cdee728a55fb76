"""Expected calibration error, written out bin by bin and utterance by utterance."""


def expected_calibration_error(probabilities, truth, bins=10):
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        tops, hits = [], []
        for values, target_classes in zip(probabilities, truth, strict=True):
            row = [float(value) for value in values]
            top = max(row)
            if low < top <= high:
                tops.append(top)
                hits.append(row.index(top) == target_classes)
        if tops:
            total += len(tops) / len(truth) * abs(sum(tops) / len(tops) - sum(hits) / len(hits))
    return total

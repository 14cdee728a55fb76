"""NIST LRE17's costs and the multiclass Cllr, written out term by term in plain Python."""

import math


def log_likelihood_ratio(row, target):
    others = [math.exp(value) for number, value in enumerate(row) if number != target]
    return row[target] - math.log(sum(others) / len(others))


def cavg(ratios, truth, beta, threshold):
    """Mean over targets of P_miss + β/(targets − 1) · Σ P_fa, each probability counted from its own trials."""
    targets = sorted(set(truth))
    total = 0.0
    for target in targets:
        own = [row[target] for row, target_classes in zip(ratios, truth, strict=True) if target_classes == target]
        cost = sum(1 for value in own if not value > threshold) / len(own)
        for other in targets:
            if other != target:
                values = [
                    row[target] for row, target_classes in zip(ratios, truth, strict=True) if target_classes == other
                ]
                false_alarms = sum(1 for value in values if value > threshold) / len(values)
                cost += beta / (len(targets) - 1) * false_alarms
        total += cost
    return total / len(targets)


def c_primary(ratios, truth, sources):
    costs = []
    for source in sorted(set(sources)):
        rows = [number for number, name in enumerate(sources) if name == source]
        part, target_classes = [ratios[number] for number in rows], [truth[number] for number in rows]
        costs.append((cavg(part, target_classes, 1, math.log(1)) + cavg(part, target_classes, 9, math.log(9))) / 2)
    return sum(costs) / len(costs)


def minimum_cavg(ratios, truth, beta):
    thresholds = [-math.inf] + [value for row in ratios for value in row]
    return min(cavg(ratios, truth, beta, threshold) for threshold in thresholds)


def class_minimum_cavg(ratios, truth, beta):
    """Mean over targets of the minimum of a target's own cost: the others' ratios are below every threshold."""
    total = 0.0
    for target in sorted(set(truth)):
        thresholds = [-math.inf] + [row[target] for row in ratios]
        alone = [[value if name == target else -math.inf for name, value in enumerate(row)] for row in ratios]
        count = len(set(truth))
        # All other targets are missed, which costs 1 each.
        total += min(cavg(alone, truth, beta, threshold) * count - (count - 1) for threshold in thresholds)
    return total / len(set(truth))


def cllr(log_likelihoods, truth):
    total = 0.0
    for target in set(truth):
        bits = []
        for row, target_classes in zip(log_likelihoods, truth, strict=True):
            if target_classes == target:
                bits.append(math.log2(sum(math.exp(value) for value in row) / math.exp(row[target_classes])))
        total += sum(bits) / len(bits)
    return total / len(set(truth))

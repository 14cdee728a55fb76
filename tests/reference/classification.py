"""F1 from counts, class by class."""


def f1_of_present_classes(answers, truth):
    """Map each class present in the truth to (F1, utterances)."""
    result = {}
    for name in sorted(set(truth)):
        both = sum(a == name and t == name for a, t in zip(answers, truth, strict=True))
        answered = sum(a == name for a in answers)
        present = sum(t == name for t in truth)
        result[name] = (2 * both / (answered + present), present)
    return result


def macro_f1(answers, truth):
    scores = f1_of_present_classes(answers, truth)
    return sum(f1 for f1, _ in scores.values()) / len(scores)


def weighted_f1(answers, truth):
    scores = f1_of_present_classes(answers, truth)
    return sum(f1 * count for f1, count in scores.values()) / len(truth)

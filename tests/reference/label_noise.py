"""The model of Dawid and Skene for labels and recorded predictions, in plain Python, one utterance at a time."""

import math


def posteriors(predictions, is_read, labels, class_count, *, weight=0.7, trusted=30, noise=0.05, iterations=50):
    """Return the distribution of the true class of each utterance; `predictions` has a list per epoch."""
    classes, utterances, epochs = range(class_count), range(len(labels)), range(len(predictions))
    of_label = [[1 - noise if label == true else noise / (class_count - 1) for label in classes] for true in classes]
    of_answer = None
    previous = math.inf
    for _ in range(iterations):
        result = []
        for i in utterances:
            logs = []
            for true in classes:
                value = math.log(of_label[true][labels[i]])
                if of_answer is not None:
                    value += weight * sum(
                        math.log(of_answer[e][true][predictions[e][i]]) for e in epochs if is_read[e][i]
                    )
                logs.append(value)
            powers = [math.exp(value - max(logs)) for value in logs]
            result.append([power / sum(powers) for power in powers])
        heard = [i for i in utterances if any(is_read[e][i] for e in epochs)]
        counts = [
            [
                1 / class_count + trusted * (label == true) + sum(result[i][true] for i in heard if labels[i] == label)
                for label in classes
            ]
            for true in classes
        ]
        of_label = [[value / sum(row) for value in row] for row in counts]
        of_answer = []
        for e in epochs:
            table = [[1.0] * class_count for _ in classes]
            for i in utterances:
                if is_read[e][i]:
                    for true in classes:
                        table[true][predictions[e][i]] += result[i][true]
            of_answer.append([[value / sum(row) for value in row] for row in table])
        rate = 1 - sum(result[i][labels[i]] for i in heard) / len(heard)
        if abs(previous - rate) < 1e-4:
            break
        previous = rate
    return result

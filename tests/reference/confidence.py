"""Confidence rows, entry by entry."""


def confidence_rows(class_similarity, clusters, own_class_weight):
    rows = []
    for c in range(len(clusters)):
        others = [o for o in range(len(clusters)) if o != c and clusters[o] == clusters[c]]
        row = [0.0] * len(clusters)
        row[c] = own_class_weight if others else 1.0
        total = sum(class_similarity[c][o] for o in others)
        for o in others:
            row[o] = (1 - own_class_weight) * (class_similarity[c][o] / total if total > 0 else 1 / len(others))
        rows.append(row)
    return rows

"""Confidence rows, entry by entry."""


def confidence_rows(likeness, clusters, target_share):
    rows = []
    for c in range(len(clusters)):
        others = [o for o in range(len(clusters)) if o != c and clusters[o] == clusters[c]]
        row = [0.0] * len(clusters)
        row[c] = target_share if others else 1.0
        total = sum(likeness[c][o] for o in others)
        for o in others:
            row[o] = (1 - target_share) * (likeness[c][o] / total if total > 0 else 1 / len(others))
        rows.append(row)
    return rows

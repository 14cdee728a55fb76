"""Windows of evaluation, one after the other."""


def sliding(count, window, hop):
    """Return (first sample, number of samples) of each window of one utterance."""
    if count <= window:
        return [(0, count)]
    windows, start = [], 0
    while start + window < count:
        windows.append((start, window))
        start += hop
    return [*windows, (count - window, window)]

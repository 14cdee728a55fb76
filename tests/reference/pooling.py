"""Self-attention pooling of one utterance, frame by frame."""

import math


def attention_pool(frames, real, weight, bias):
    """Return Σ w·h with w the softmax over the real frames of weight · h + bias; frames are lists of numbers."""
    kept = [frame for frame, keep in zip(frames, real, strict=True) if keep]
    scores = [sum(w * x for w, x in zip(weight, frame, strict=True)) + bias for frame in kept]
    powers = [math.exp(score - max(scores)) for score in scores]
    return [
        sum(power * frame[column] for power, frame in zip(powers, kept, strict=True)) / sum(powers)
        for column in range(len(weight))
    ]

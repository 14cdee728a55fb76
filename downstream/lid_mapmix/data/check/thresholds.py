"""The thresholds of ``lid-mapmix check``, each with its reason; levels are relative to full scale.

The limits of training itself (minimum length, maximum difference from the manifest) are in data/audio/spans.py.
"""

# Number of listed examples per finding.
EXAMPLES = 3

# -- silence --
# Quiet speech on a telephone line is at about -45 dB; 16-bit audio without any signal at -98 dB.
SILENT_DECIBELS = -60.0
# The loudest twentieth of the frames decides, so that a click does not turn silence into speech.
LOUD_QUANTILE = 0.95

# -- bandwidth, from the long-term spectrum --
# Frames of this length resolve the bands below, and all frames of an utterance are averaged.
FRAME_SECONDS = 0.032
BAND_HERTZ = 250.0
# The upper limit of upstreams (16 kHz).
HIGHEST_HERTZ = 8_000.0
# Between the level below an edge and the highest level above it. Of 210 utterances of eSpeak NG, wideband ones have
# drops up to 9 dB, and those upsampled from 8 kHz from 23 (scipy.signal.resample_poly at -45 dB, in 16 bits) to 53
# (with a telephone's filter before). Real fricatives may be weaker than synthetic ones, so the threshold is near the
# latter; there was no real wideband speech to test it on. bench/check.py --tables bands shows what it detects.
CLIFF_DECIBELS = 22.0
# The range of edges: telephone channels end at 3.4 kHz; an edge above 7 kHz is that of 16 kHz audio.
LOWEST_EDGE_HERTZ = 2_500.0
HIGHEST_EDGE_HERTZ = 7_000.0
# Width of a filter's slope, ignored between the two sides of an edge.
SLOPE_HERTZ = 500.0
# Width of the band below an edge that is compared.
SHELF_HERTZ = 1_000.0
# Fewer frames give no reliable average.
MIN_FRAMES = 15
# Telephone speech, plus a resampler's slope.
NARROW_HERTZ = 4_500.0

# -- channel and class --
# Cramér's V, 0 to 1. Above the second, the bandwidth predicts classes better than most dialect recognisers do.
ASSOCIATION_WARNING = 0.2
ASSOCIATION_ERROR = 0.5
# Of chi-square; an association that arises by chance in one of a thousand corpora is not reported.
SIGNIFICANCE = 1e-3

# -- rates --
# No speech is recorded at a lower rate; such a header is wrong.
LOWEST_RATE = 4_000

# -- classes --
# Ratio of the largest to the smallest class, in seconds of train. NIST LRE17's own training data exceeds the first.
IMBALANCE_NOTE = 5.0
IMBALANCE_WARNING = 20.0

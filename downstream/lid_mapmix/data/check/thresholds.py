"""The thresholds of ``lid-mapmix check``, each with its reason; levels are relative to full scale.

The limits of training itself (minimum length, maximum difference from the manifest) are in data/audio/spans.py.
"""

# Number of listed examples per finding.
EXAMPLES = 3

# -- silence, clipping, offset --
# Quiet speech on a telephone line is at about -45 dB; 16-bit audio without any signal at -98 dB.
SILENT_DECIBELS = -60.0
# The loudest twentieth of the frames decides, so that a click does not turn silence into speech.
LOUD_QUANTILE = 0.95
# The maximum of µ-law is 0.980 of full scale.
FULL_SCALE = 0.98
# A peak of unclipped audio reaches full scale for a sample or two.
CLIPPED_RUN = 3
# Of all samples; below it, a plosive or a knock rather than an overdriven recording.
CLIPPED_FRACTION = 1e-3
# An offset with 6 % of the power of the rest, and above the rounding of 8-bit audio.
OFFSET_OF_DEVIATION = 0.25
MIN_OFFSET = 2e-3

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
COMMON_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# Of the length; rates differ by at least 8 %, and seconds in a manifest are seldom rounded to less than 10 ms.
RATE_TOLERANCE = 0.005
# If the lengths of fewer utterances match the manifest at any rate, its seconds are nominal.
EXACT_FRACTION = 0.5

# -- classes --
# Ratio of the largest to the smallest class, in seconds of train. NIST LRE17's own training data exceeds the first.
IMBALANCE_NOTE = 5.0
IMBALANCE_WARNING = 20.0
# Of 1 for equal names (difflib): one letter in ten or more, so that codes such as ara-ary and ara-arz are not alike.
ALIKE = 0.9
# Comparing all pairs of more names takes minutes.
MAX_NAMES = 500

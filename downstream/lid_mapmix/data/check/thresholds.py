"""The numbers that ``lid-mapmix check`` decides by, each with its reason; levels are relative to full scale.

What training itself refuses (the least length, how much shorter than the manifest audio may be) is in
data/audio/spans.py.
"""

# How many of a kind are named; the rest is counted.
EXAMPLES = 3

# -- silence, clipping, offset --
# Quiet speech on a telephone line is at about -45 dB; 16-bit audio without any signal at -98 dB.
SILENT_DECIBELS = -60.0
# Of the frames, the loudest twentieth decides, so that a click does not make silence into speech.
LOUD_QUANTILE = 0.95
# The largest value of µ-law is 0.980 of full scale.
FULL_SCALE = 0.98
# A peak of unclipped audio touches full scale with a sample or two.
CLIPPED_RUN = 3
# Of all samples; below it a plosive or a knock, no overdriven recording.
CLIPPED_FRACTION = 1e-3
# An offset that holds 6 % of the power of the rest, and is more than rounding of 8-bit audio.
OFFSET_OF_DEVIATION = 0.25
OFFSET_LEAST = 2e-3

# -- bandwidth, from the long-term spectrum --
# Frames as short as this tell the bands below apart, and as many as an utterance has are averaged.
FRAME_SECONDS = 0.032
BAND_HERTZ = 250.0
# Upstreams hear up to this (16 kHz).
HIGHEST_HERTZ = 8_000.0
# Between the level under an edge and the highest level beyond it. Of 210 utterances that eSpeak NG speaks, wideband
# ones fall by 9 dB at most, those upsampled from 8 kHz by 23 (scipy.signal.resample_poly at -45 dB, in 16 bits) to 53
# (a telephone's filter before). Real fricatives may be weaker than synthetic ones, so it is nearer to the latter;
# there was no real wideband speech to try it on. bench/check.py --tables bands shows what it sees and what not.
CLIFF_DECIBELS = 22.0
# Where an edge is looked for: telephone channels end at 3.4 kHz; above 7 kHz ends what is 16 kHz anyway.
LOWEST_EDGE_HERTZ = 2_500.0
HIGHEST_EDGE_HERTZ = 7_000.0
# A filter's way down, left out between the two sides of an edge.
SLOPE_HERTZ = 500.0
# How much below an edge is looked at.
SHELF_HERTZ = 1_000.0
# Too few frames are no average.
LEAST_FRAMES = 15
# Telephone speech, with what a resampler's slope adds.
NARROW_HERTZ = 4_500.0

# -- channel and class --
# Cramér's V, 0 to 1. From the second on, a band predicts classes better than most dialect recognisers do.
ASSOCIATION_WARNING = 0.2
ASSOCIATION_ERROR = 0.5
# Chi-square's; an association that chance makes once in a thousand corpora is not reported as one.
SIGNIFICANCE = 1e-3

# -- rates --
# No speech is recorded at less; whoever wrote such a header meant something else.
LOWEST_RATE = 4_000
COMMON_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# Of the length; rates differ by 8 % at least, and seconds in a manifest are seldom rounded to less than 10 ms.
RATE_TOLERANCE = 0.005
# Where the lengths of fewer utterances than this fit the manifest at any rate, its seconds are nominal ones.
EXACT_FRACTION = 0.5

# -- classes --
# Largest over smallest class, by seconds in train. NIST LRE17's own training data is beyond the first.
IMBALANCE_NOTE = 5.0
IMBALANCE_WARNING = 20.0
# One letter tells codes such as ary and arz apart: only of words from this length on it is a slip by itself ...
SPELT_LETTERS = 5
# ... and of shorter ones where one of the two is this much rarer.
SPELT_FRACTION = 0.01
# Whoever has more classes has named something else so, such as the utterance.
MOST_NAMES = 10_000

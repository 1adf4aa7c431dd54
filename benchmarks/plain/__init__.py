"""Training steps as the papers' repositories write them: plain fp32 loops to measure against.

Written for these benchmarks, after the form of the published code and with its cost: weights and images contiguous,
fp32, the clean output recomputed in every inner step, BatchNorm as it is. One file a method, each complete in itself.
"""

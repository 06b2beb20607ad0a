"""Accuracy curves A(N), labels and dataset summaries, exactly and without Monte Carlo. Pure tensors in, tensors out."""

"""Benchmarks: each prints one JSON line; compare ratios measured in one run, since machines are
noisy."""

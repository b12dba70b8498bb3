"""Speed, as ratios taken in one run of one interpreter; absolute numbers of a shared machine say little. `python -m benchmarks`."""

"""One file for each claim, run by `python -m benchmarks NAME --json`."""

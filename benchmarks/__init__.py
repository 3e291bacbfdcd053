"""What docs/benchmarks.md is made of: ``python -m benchmarks``, or ``python -m benchmarks NAME`` for one row."""

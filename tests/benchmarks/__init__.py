"""The benchmarks run; how fast is not asserted."""

"""Benchmark statistics, and a launcher for standard benchmarks."""

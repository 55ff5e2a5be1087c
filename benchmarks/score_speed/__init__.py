"""Benchmark of JEPA-SCORE against the paper's PyTorch listing: `python -m benchmarks.score_speed`."""

from benchmarks.score_speed.weights import random_vit

__all__ = ["random_vit"]

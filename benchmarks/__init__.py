"""Measures speed: how long the course's work takes, beside other libraries and beside what the lessons promise.

`python -m benchmarks` runs all benchmarks, `python -m benchmarks lessons` runs one. `python -m benchmarks.gpu` measures
what needs a GPU. `metaface experiment` measures accuracy.
"""

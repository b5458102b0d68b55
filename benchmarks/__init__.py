"""What the course claims in seconds, measured. `python -m benchmarks` runs all; `python -m benchmarks lessons` one."""

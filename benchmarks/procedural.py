"""Measures how fast procedural faces are rendered, and how fast the cached set is read.

python -m benchmarks.procedural --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch

from metaface_lessons.faces.procedural import procedural_faces, render, sample_identities, sample_nuisance

RATE_TARGET, RELOAD_TARGET = 200.0, 2.0  # images a second at 64×64 on two cores; seconds


def seconds(work: Callable[[], object]) -> float:
    """The wall seconds of a piece of work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rate(size: int, pictures: int, repeats: int = 5) -> float:
    """Images rendered in a second, as the median over repeats after one that does not count.

    size: of an image, in pixels.
    pictures: rendered in each repeat.
    repeats: 5.
    """
    people, how = sample_identities(pictures, 0), sample_nuisance(pictures, 1)
    render(people, how, size)
    return pictures / statistics.median(seconds(lambda: render(people, how, size)) for _ in range(repeats))


def core_milliseconds(size: int, pictures: int) -> float:
    """Processor milliseconds of one picture. Other programs on the machine change them less than the rate.

    size: of an image, in pixels.
    pictures: to render.
    """
    people, how = sample_identities(pictures, 0), sample_nuisance(pictures, 1)
    start = time.process_time()
    render(people, how, size)
    return 1000 * (time.process_time() - start) / pictures


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.procedural", description="Speed of procedural faces.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    asked = parser.parse_args()
    found: dict[str, float] = {"threads": torch.get_num_threads()}
    found["images_per_second_64"] = rate(64, 256)
    found["core_milliseconds_64"] = core_milliseconds(64, 256)
    found["images_per_second_256"] = rate(256, 16)
    with tempfile.TemporaryDirectory() as folder:
        before, os.environ["METAFACE_CACHE"] = os.environ.get("METAFACE_CACHE"), folder
        found["first_load_seconds"] = seconds(lambda: procedural_faces(progress=False))
        found["reload_seconds"] = statistics.median(seconds(lambda: procedural_faces(progress=False)) for _ in range(5))
        if before is None:
            del os.environ["METAFACE_CACHE"]
        else:
            os.environ["METAFACE_CACHE"] = before
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        print(
            f"rendering  64×64  {found['images_per_second_64']:6.0f} images/s (target: {RATE_TARGET:.0f}),"
            f" {found['core_milliseconds_64']:.1f} ms of a core each"
        )
        print(f"rendering 256×256 {found['images_per_second_256']:6.0f} images/s")
        print(
            f"default set: rendered in {found['first_load_seconds']:.1f} s, reloaded in {found['reload_seconds']:.2f} s"
        )
    fast = found["images_per_second_64"] >= RATE_TARGET and found["reload_seconds"] < RELOAD_TARGET
    return 0 if fast else 1


if __name__ == "__main__":
    raise SystemExit(main())

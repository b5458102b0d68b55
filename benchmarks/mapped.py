"""Measures face sets on disk: how long an episode takes, and how much memory is held, from few to many pictures.

python -m benchmarks.mapped [--images 1000 10000 100000] [--size 16] [--json]

The pictures are noise, 20 of each person. For two million of them: --images 2000000. They are written into a temporary
file (TMPDIR names its place), of --size² bytes for each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.faces.mapped import PIECE, Piece, map_pieces, mapped_faces
from metaface_lessons.machine import resident_memory

EACH, WAYS, SHOTS, QUERIES = 20, 5, 5, 15


def noise(images: int, size: int) -> Iterator[Piece]:
    """Pictures of noise, some people at a time.

    images: how many, a multiple of 20.
    size: of a picture, in pixels.
    """
    at_once = max(1, PIECE // (EACH * size**2))
    for first in range(0, images // EACH, at_once):
        people = torch.arange(first, min(first + at_once, images // EACH)).repeat_interleave(EACH)
        draw = torch.Generator().manual_seed(first)
        yield Piece(torch.randint(256, (len(people), 1, size, size), generator=draw, dtype=torch.uint8), people)


def measure(images: int, size: int, episodes: int = 300) -> dict[str, Any]:
    """Make a file, open it, and draw episodes one at a time, with as many after a tenth of that to warm up.

    images: how many pictures, a multiple of 20.
    size: of a picture, in pixels.
    episodes: how many are drawn. 300.
    """
    with tempfile.TemporaryDirectory(prefix="metaface-") as folder:
        start, memory = time.perf_counter(), [resident_memory()]
        file = map_pieces(noise(images, size), Path(folder) / "noise.faces", name="noise", synthetic=True)
        made = time.perf_counter()
        memory.append(resident_memory())
        base = mapped_faces(file).split(seed=0).base
        opened = time.perf_counter()
        sampler = EpisodeSampler(base, WAYS, SHOTS, QUERIES, seed=0)
        ready = time.perf_counter()
        memory.append(resident_memory())
        times, most = [], memory[-1]
        for _ in range(episodes // 10):
            sampler.sample()
        for _ in range(episodes):
            begun = time.perf_counter()
            sampler.sample()
            times.append(time.perf_counter() - begun)
            most = max(most, resident_memory())
        return {
            "images": images,
            "file_mb": round(file.stat().st_size / 2**20, 3),
            "make_s": round(made - start, 2),
            "open_and_split_s": round(opened - made, 3),
            "sampler_s": round(ready - opened, 3),
            "episode_ms": round(1000 * statistics.median(times), 3),
            "making_mb": memory[1] - memory[0],
            "index_mb": memory[2] - memory[1],
            "sampling_mb": most - memory[2],
        }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000], help="how many pictures")
    parser.add_argument("--size", type=int, default=16, help="of a picture, in pixels")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    rows = []
    for images in asked.images:
        rows.append(measure(max(images // EACH, 6 * WAYS) * EACH, asked.size))
        if not asked.json:
            print(", ".join(f"{name} {value:,}" for name, value in rows[-1].items()), flush=True)
    if asked.json:
        print(json.dumps({"size": asked.size, "threads": torch.get_num_threads(), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

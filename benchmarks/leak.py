"""What a leak of people fakes on real faces: LDA on Olivetti, tested on 20 people of whom ever more were trained on.

python -m benchmarks.leak        # writes data/results/leak-olivetti.json, which lesson 01 reads: numbers, no pictures
"""

from __future__ import annotations

import json
import sys
from datetime import date

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces
from metaface_lessons.paths import DATA, write_atomically
from metaface_lessons.widgets.leak_explorer import STEP, leak_experiment

FILE = DATA / "results" / "leak-olivetti.json"


def main() -> int:
    try:
        faces = load_faces("olivetti")
    except MetaFaceError as error:
        print(f"Not measured: {error}", file=sys.stderr)
        return 0
    reported = leak_experiment(faces, people=20, episodes=1000).reported
    figures = {
        kind: {
            str(STEP * i): {key: round(getattr(e, key), 4) for key in ("accuracy", "ci95", "ci95_people")}
            for i, e in enumerate(curve)
        }
        for kind, curve in reported.items()
    }
    stored = {"command": "python -m benchmarks.leak", "date": date.today().isoformat(), "reported": figures}
    write_atomically(FILE, (json.dumps(stored, indent=1) + "\n").encode())
    for kind, curve in figures.items():
        print(
            f"{kind:30s} "
            + "  ".join(f"{share}%: {100 * curve[share]['accuracy']:.1f}" for share in ("0", "50", "100"))
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Who is in a run's split, and by which pictures: stored with the run, and compared with what its faces are now.

A picture is known by a digest of its pixels. So a person who was renamed, and a picture that now lies with somebody
else, are found out. Synthetic people are known by their names alone, because they may be rendered a little differently
on another machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ..faces import FaceSet, Split

DIGEST = 16  # hexadecimal digits for each picture
People = dict[str, dict[str, str]]  # part of the split → person's name → digests of their pictures, sorted and joined


def people_of(split: Split) -> People:
    """The people of each part of a split, with digests of their pictures."""
    return {part: digests(faces) for part, faces in zip(Split._fields, split, strict=True)}


def digests(faces: FaceSet) -> dict[str, str]:
    """The digests of each person's pictures, by the person's name; empty for synthetic people."""
    found: dict[str, list[str]] = {faces.name_of(int(person)): [] for person in faces.identities}
    if not faces.synthetic:
        shape = str(faces.shape).encode()
        images = (image for part in faces.images.split(1000) for image in part.cpu().numpy())
        for image, person in zip(images, faces.identity.tolist(), strict=True):
            digest = hashlib.blake2b(shape + image.tobytes(), digest_size=DIGEST // 2)
            found[faces.name_of(person)].append(digest.hexdigest())
    return {name: "".join(sorted(pictures)) for name, pictures in found.items()}


def pictures(joined: str) -> set[str]:
    """The digests of one person's pictures."""
    return {joined[i : i + DIGEST] for i in range(0, len(joined), DIGEST)}


def changes(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What has changed in a face set, in words; empty if nothing has.

    was: digests of pictures by name, as they were. An empty digest is not known, and fits any.
    now: the same, as they are.
    """
    gone, new = [name for name in was if name not in now], [name for name in now if name not in was]
    called = {was[name]: name for name in gone if was[name]}
    renamed = {called[now[name]]: name for name in new if now[name] in called}
    other = [name for name in was if name in now and was[name] and now[name] and was[name] != now[name]]
    parts = [
        ("gone", [name for name in gone if name not in renamed]),
        ("new", [name for name in new if name not in renamed.values()]),
        ("renamed", [f"{old} to {name}" for old, name in renamed.items()]),
        ("with other pictures", [f"{name} ({_difference(was[name], now[name])})" for name in other]),
    ]
    return "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in parts if names)


def leaked(people: People, now: Mapping[str, str]) -> list[str]:
    """The novel people who now have a picture that was trained on: "Ada, as Bo", for instance.

    people: those of the run, with their pictures as they were.
    now: the pictures as they are, by name.
    """
    owner = {
        picture: name
        for part in Split._fields[:2]
        for name, joined in people[part].items()
        for picture in pictures(joined)
    }
    before = set().union(*(pictures(joined) for joined in people["novel"].values()))
    found = {}
    for name in people["novel"]:
        for picture in pictures(now.get(name, "")) - before:
            if picture in owner:
                found[name] = owner[picture]
    return [f"{name} (as {trained})" for name, trained in found.items()]


def _difference(was: str, now: str) -> str:
    gone, new = len(pictures(was) - pictures(now)), len(pictures(now) - pictures(was))
    return f"{new} new, {gone} gone" if new or gone else "one of them twice"


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""Collecting from nbgrader's exchange, in which every student may write, without believing what lies there.

nbgrader's own collection takes a submission for whose name it bears, and only warns if another made it. It follows
links, as the instructor, who may read every other submission and the seed; and a name without a time stops it.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import Any

from nbgrader.exchange.default import ExchangeCollect
from nbgrader.utils import parse_utc


class CollectOwn(ExchangeCollect):
    """Collects what the student whose name a submission bears has made, and nothing else.

    `check_owner`, nbgrader's own setting, is for an exchange whose students are no users of this machine.
    """

    def init_src(self) -> None:
        """Find the submissions, after those that are not what they claim were set aside: a dot before their name."""
        for path in Path(self.root, self.coursedir.course_id, "inbound").glob("[!.]*"):
            if fault := _fault(path, self.check_owner):
                self.log.warning("Set aside, for %s: %s", fault, path)
                path.rename(path.with_name(f".{path.name}"))
        super().init_src()

    def do_copy(self, src: str, dest: str, log: Any = None) -> None:
        """Copy the regular files of the owner of `src`, up to nbgrader's limits of size. Follows no link."""
        owner, left = os.lstat(src).st_uid, 1000 * self.coursedir.max_dir_size
        for folder, _, files, place in os.fwalk(src, follow_symlinks=False):
            target = Path(dest, os.path.relpath(folder, src))
            target.mkdir(parents=True, exist_ok=True)
            for name in files:
                try:
                    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
                except OSError as error:  # a link, or closed to the instructor
                    self.log.warning("Left out: %s (%s)", Path(folder, name), error.strerror)
                    continue
                with open(file, "rb") as source:
                    found = os.fstat(file)
                    if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
                        self.log.warning("Left out: %s is no file of the student's own", Path(folder, name))
                    elif found.st_size > min(left, 1000 * self.coursedir.max_file_size):
                        self.log.warning("Left out: %s is too large", Path(folder, name))
                    else:
                        left -= found.st_size
                        with (target / name).open("wb") as copy:
                            copy.write(source.read(found.st_size))


def _fault(path: Path, check_owner: bool) -> str:
    """Why this is not the submission of whose name it bears, or an empty text."""
    try:
        student, _, timestamp, *_ = path.name.rsplit("+", 3)
        parse_utc(timestamp)
        found = path.lstat()
        if check_owner and found.st_uid != pwd.getpwnam(student).pw_uid:
            return f"it belongs to user {found.st_uid}"
    except (ValueError, KeyError):
        return "its name is none that nbgrader gives"
    return "" if stat.S_ISDIR(found.st_mode) else "it is no folder"

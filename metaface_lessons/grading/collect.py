"""Collects submissions from nbgrader's exchange, where every student may write, and trusts nothing that it finds.

nbgrader's own collection believes the student's name in the file name, and only warns if another student owns the file.
It also follows links with the instructor's rights, so a link can reach other submissions and the seed. And a name
without a time stops it.
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
    """Collects a submission only if the student named in it owns it.

    nbgrader's setting `check_owner` turns this off, for an exchange whose students have no accounts on this machine.
    """

    def init_src(self) -> None:
        """Find the submissions. False ones are set aside first: they get a dot before their name."""
        for path in Path(self.root, self.coursedir.course_id, "inbound").glob("[!.]*"):
            if fault := _fault(path, self.check_owner):
                self.log.warning("Set aside: %s (%s)", path, fault)
                path.rename(path.with_name(f".{path.name}"))
        super().init_src()

    def do_copy(self, src: str, dest: str, log: Any = None) -> None:
        """Copy the regular files that the owner of `src` owns, up to nbgrader's limits of size. Links are left out."""
        owner, left = os.lstat(src).st_uid, 1000 * self.coursedir.max_dir_size
        for folder, _, files, place in os.fwalk(src, follow_symlinks=False):
            target = Path(dest, os.path.relpath(folder, src))
            target.mkdir(parents=True, exist_ok=True)
            for name in files:
                try:
                    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
                except OSError as error:  # a link, or a file that the instructor may not read
                    self.log.warning("Left out: %s (%s)", Path(folder, name), error.strerror)
                    continue
                with open(file, "rb") as source:
                    found = os.fstat(file)
                    if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
                        self.log.warning("Left out: %s is not a file of the student's own", Path(folder, name))
                    elif found.st_size > min(left, 1000 * self.coursedir.max_file_size):
                        self.log.warning("Left out: %s is too large", Path(folder, name))
                    else:
                        left -= found.st_size
                        with (target / name).open("wb") as copy:
                            copy.write(source.read(found.st_size))


def _fault(path: Path, check_owner: bool) -> str:
    """Why this is not a submission of the student in its name; an empty text if it is one."""
    try:
        student, _, timestamp, *_ = path.name.rsplit("+", 3)
        parse_utc(timestamp)
        found = path.lstat()
        if check_owner and found.st_uid != pwd.getpwnam(student).pw_uid:
            return f"it belongs to user {found.st_uid}"
    except (ValueError, KeyError):
        return "its name is not of nbgrader's form"
    return "" if stat.S_ISDIR(found.st_mode) else "it is not a folder"

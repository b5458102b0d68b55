"""Collects submissions from nbgrader's exchange, where every student may write, and trusts nothing that it finds.

nbgrader's own collection believes the student's name in the file name, and only warns if another student owns the file.
It also follows links with the instructor's rights, so a link can reach other submissions and the seed. And one name or
date that it does not understand stops it. Here each submission is fetched on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from nbgrader.exchange.default import ExchangeCollect
from nbgrader.utils import parse_utc

from .submitted import fault_of_name, shown, side_file

DEPTH, ENTRIES = 8, 1000  # of the folders in a submission, and of its files


class CollectOwn(ExchangeCollect):
    """Collects a submission only if the student named in it owns it.

    nbgrader's setting `check_owner` turns this off, for an exchange whose students have no accounts on this machine.
    `failed` holds student → why, for those whose submission could not be fetched by the last collection.
    """

    failed: ClassVar[dict[str, str]] = {}

    def init_src(self) -> None:
        """Find each student's submission to collect. False ones are set aside: they get a dot before their name."""
        self.course_path = os.path.join(self.root, self.coursedir.course_id)
        self.inbound_path = os.path.join(self.course_path, "inbound")
        if not os.access(self.inbound_path, os.R_OK | os.X_OK):
            self.fail(f"{self.inbound_path} does not exist, or you may not read it.")
        by_student: dict[str, list[dict[str, Any]]] = {}
        for name in sorted(os.listdir(self.inbound_path)):
            path = Path(self.inbound_path, name)
            if name.startswith("."):
                continue
            try:
                record = _record(path, self.check_owner)
            except (ValueError, OSError) as error:
                self._set_aside(path, error)
            else:
                if record["assignment"] == self.coursedir.assignment_id:
                    by_student.setdefault(record["username"], []).append(record)
        due = self._due() if self.before_duedate else None
        self.src_records = []
        for records in by_student.values():
            in_time = [record for record in records if due is None or record["timestamp"] <= due]
            self.src_records.append(max(in_time or records, key=lambda record: record["timestamp"]))

    def _set_aside(self, path: Path, why: Exception) -> None:
        self.log.warning("Set aside: %s (%s)", shown(path.name), why)
        with contextlib.suppress(OSError):  # it stays where it is, and is passed over each time
            digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
            short = os.fsdecode(os.fsencode(path.name)[:200])
            path.rename(path.with_name(f".{short}" if short == path.name else f".{short}.{digest}"))

    def _due(self) -> datetime | None:
        from nbgrader.api import Gradebook, MissingEntry

        with Gradebook(self.coursedir.db_url, self.coursedir.course_id) as gradebook:
            try:
                due: datetime | None = gradebook.find_assignment(self.coursedir.assignment_id).duedate
                return due
            except MissingEntry:
                return None

    def copy_files(self) -> None:
        """Fetch each submission that is newer than the collected one. One that fails does not stop the others."""
        for record in self.src_records:
            student = record["username"]
            try:
                self._fetch(record)
            except Exception as error:  # of any type: the files are a stranger's
                why = error.strerror if isinstance(error, OSError) else error
                self.failed[student] = f"The submission in the exchange cannot be fetched: {why}."
                self.log.warning("Not fetched: %s (%s)", shown(student), why)

    def _fetch(self, record: dict[str, Any]) -> None:
        step, student = self.coursedir.submitted_directory, record["username"]
        target = Path(self.coursedir.format_path(step, student, self.coursedir.assignment_id))
        when: datetime = record["timestamp"]
        if target.is_dir() and not target.is_symlink():
            before = time_of(target)
            newer = self.update and (before is None or when > before)
            if not newer and not (self.before_duedate and before != when):
                return
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.do_copy(os.path.join(self.inbound_path, record["filename"]), str(part))
            (part / TIME).write_text(f"{when} UTC")  # in place of what the student says there
            if target.is_symlink():
                target.unlink()
            elif target.exists():
                shutil.rmtree(target)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def do_copy(self, src: str, dest: str, log: Any = None) -> None:
        """Copy the regular files that the owner of `src` owns, up to limits of size and depth. Links are left out.

        Raises `ValueError` if there are too many files, and `OSError` if the folder may not be read.
        """
        owner, left, entries = os.lstat(src).st_uid, 1000 * self.coursedir.max_dir_size, 0
        os.listdir(src)  # raises where it may not be read; `fwalk` would pass over it
        for folder, folders, files, place in os.fwalk(src, follow_symlinks=False):
            below = Path(os.path.relpath(folder, src))
            target = Path(dest, below)
            target.mkdir(parents=True, exist_ok=True)
            if len(below.parts) >= DEPTH:
                folders.clear()
            entries += len(folders) + len(files)
            if entries > ENTRIES:
                raise ValueError(f"it has more than {ENTRIES} files")
            for name in files:
                try:
                    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
                except OSError as error:  # a link, or a file that the instructor may not read
                    self.log.warning("Left out: %s (%s)", shown(name), error.strerror)
                    continue
                with open(file, "rb") as source:
                    found = os.fstat(file)
                    if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
                        self.log.warning("Left out: %s is not a file of the student's own", shown(name))
                    elif found.st_size > min(left, 1000 * self.coursedir.max_file_size):
                        self.log.warning("Left out: %s is too large", shown(name))
                    else:
                        left -= found.st_size
                        with (target / name).open("wb") as copy:
                            copy.write(source.read(found.st_size))


TIME = "timestamp.txt"


def time_of(folder: Path) -> datetime | None:
    """When a submission in this folder was submitted, in UTC, if its text says a time that can be."""
    text = side_file(folder, TIME)
    with contextlib.suppress(Exception):  # the parser raises errors of many types
        when: datetime = parse_utc(text)
        if text and 2000 <= when.year < 2200:
            return when
    return None


def _record(path: Path, check_owner: bool) -> dict[str, Any]:
    """A submission in the exchange: its student, assignment and time, by its name.

    Raises `ValueError` if it is not a submission of that student.
    """
    try:
        student, assignment, timestamp, *_ = path.name.rsplit("+", 3)
        when = parse_utc(timestamp)
    except Exception as error:  # the parser raises errors of many types
        raise ValueError("its name is not of nbgrader's form") from error
    if fault := fault_of_name(student):
        raise ValueError(f"the student's name {fault}")
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError("it is not a folder")
    if check_owner:
        try:
            owner = pwd.getpwnam(student).pw_uid
        except KeyError as error:
            raise ValueError("there is no such user") from error
        if found.st_uid != owner:
            raise ValueError(f"it belongs to user {found.st_uid}")
    return {"username": student, "assignment": assignment, "filename": path.name, "timestamp": when}

"""What pyproject.toml cannot say: a wheel has the lessons and their data in the package, and an old Python is named."""

import shutil
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (an older pip would report a package that it cannot find)
    sys.exit("MetaFace needs Python 3.11 or newer, but this is Python " + sys.version.split()[0] + ".")

from setuptools import setup
from setuptools.command.build_py import build_py

# What the package reads at run time, as `paths.COURSE` expects it. The solved notebooks are not among it.
COURSE = ("notebooks/*.ipynb", "notebooks/*.md", "notebooks/source/*.py", "data/**/*")


class BuildWithCourse(build_py):
    """Build the package with copies of the notebooks and the data in `metaface_lessons/course`."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # then the package reads the files of this folder
            return
        for pattern in COURSE:
            for file in filter(Path.is_file, Path().glob(pattern)):
                target = Path(self.build_lib, "metaface_lessons", "course", file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithCourse})

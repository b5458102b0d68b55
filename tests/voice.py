"""Plain English, as far as a program can see it: `python -m tests.voice [FILE …]` prints each finding, and the fix.

It reads the documents, the docstrings, comments and messages of the code, and the prose of the lessons. A phrase that
is right although a rule finds it goes into `ALLOWED`, with the reason.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ("*.md", "docs/*.md", "data/**/*.md", "deploy/**/*.md", "notebooks/*.md")
CODE = ("metaface_lessons/**/*.py", "examples/*.py", "benchmarks/*.py", "deploy/**/*.py", "notebooks/**/*.py")
LATER = {f"{number:02d}" for number in range(6)}  # lessons whose prose is not rewritten yet; a new lesson is checked
WIDTH = 150  # characters in a line of prose; ruff checks the lines of code
ALLOWED: dict[str, str] = {}  # a phrase that a rule finds → why it stays


def _not_after(words: str) -> str:
    return "".join(rf"(?<!\b{word}\s)" for word in words.split())


_PERSON = _not_after("who you one reader learner user person student instructor author engineer newcomer somebody")
_SHARE = _not_after("each one some all any most many none both either first last two three half which")
_LISTENER = (
    "you|your|us|them|him|her|me|whom|people|learners?|readers?|students?|(?:the|a|each|every) (?:learner|reader)"
)
_COMPARED = r"longer|more|less|fewer|better|worse|larger|smaller|higher|lower|brighter|\w+er than"
RULES = {  # pattern → what to write; a space matches the end of a line
    "mend(?:s|ed|ing)?": "fix",
    "anew": "again",
    "besides": "also, or beside",
    "whoever": "anyone who, or those who",
    "ever more": "more and more",
    "dear(?:er|est)?": "expensive",
    "stands? in(?! for)": "is in",
    r"\w+, too(?!\s+\w)": "no comma before 'too'",
    rf"{_not_after('there')}(?:is|are|was|were) (?:no|(?-i:none))(?! (?:{_COMPARED}))": "is not a, or has no",
    rf"{_SHARE}(?:of which|of whom)": "whose, that, or a new sentence",
    rf"{_PERSON}wants": "needs",
    rf"(?:tells|told)(?! (?:{_LISTENER}|otherwise|to))(?![^.]*(?:apart| from ))": "says, reports, or shows",
    "(?-i:Asked|Wanted|Stored|Trusted|Meant) (?:is|are)": "the subject first",
}
_GAP = r"(?:[ \t]*\n[ \t]*|[ \t]+)"  # between two words, also at the end of a line
_RULES = [(re.compile(rf"(?<!\w)(?:{rule.replace(' ', _GAP)})\b", re.I), say) for rule, say in RULES.items()]
_CODE = re.compile(r"``.*?``|`[^`\n]*`|https?://\S+|\$[^$\n]*\$")

Finding = tuple[int, str, str]  # line, what was found, what to write


def words(text: str, line: int) -> Iterator[Finding]:
    """The words of a text that begins on `line`, outside code and formulas."""
    for pattern in (_CODE, *(re.compile(re.escape(phrase), re.I) for phrase in ALLOWED)):
        text = pattern.sub(lambda found: "\0" * len(found[0]), text)
    for rule, say in _RULES:
        for found in rule.finditer(text):
            yield line + text.count("\n", 0, found.start()), f"'{' '.join(found[0].split())}'", say


def markdown(text: str) -> Iterator[Finding]:
    """A document: words, and lines that are too long. Code does not count, nor the length of a table's row."""
    prose: list[str] = []
    fenced, blank = False, True
    for number, line in enumerate(text.splitlines(), start=1):
        fence = line.lstrip().startswith("```")
        code = fenced or fence or (line.startswith("    ") and (blank or not prose[-1]))
        fenced, blank = fenced != fence, not line.strip()
        prose.append("" if code else line)
        if len(line) > WIDTH and not code and not line.startswith("|"):
            yield number, f"{len(line)} characters", f"at most {WIDTH}"
    yield from words("\n".join(prose), 1)


def lesson(text: str) -> Iterator[Finding]:
    """The prose cells of a lesson's source."""
    cells = re.split(r"^(?=# %%)", text, flags=re.MULTILINE)
    prose = (re.sub("^# ?", "", cell, flags=re.MULTILINE) if "[markdown]" in cell[:99] else cell for cell in cells)
    yield from markdown("".join(part if "[markdown]" in part[:99] else "\n" * part.count("\n") for part in prose))


def python(text: str) -> Iterator[Finding]:
    """A module: words of comments, docstrings and messages, and parameters that share a docstring's line."""
    lines = [""] * (text.count("\n") + 1)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = token.string.replace("#", " ", 1)
    yield from words("\n".join(lines), 1)
    tree = ast.parse(text)
    pieces = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            message = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            yield from words(message, node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield from words(node.value, node.lineno)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            known = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
            known |= {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
            docstring = node.body[0].value  # type: ignore[attr-defined]
            for found in re.finditer(r"[.;] (\w+)(?:, \w+)*: ", docstring.value):
                if found[1] in known:
                    line = docstring.lineno + docstring.value.count("\n", 0, found.start())
                    yield line, f"'{found[1]}:' within a line", "each parameter on a line of its own"


def findings(file: Path) -> list[Finding]:
    """What is found in a file, in the order of its lines."""
    check = markdown if file.suffix == ".md" else lesson if file.parent.name == "source" else python
    return sorted(check(file.read_text(encoding="utf-8")))


def main(arguments: Sequence[str]) -> int:
    """Print the findings in the files, or in all that belong to the course; 1 if there are any."""
    course = (file for place in (*DOCUMENTS, *CODE) for file in sorted(REPOSITORY.glob(place)))
    files = map(Path, arguments) if arguments else (file for file in course if file.name[:2] not in LATER)
    lines = [(os.path.relpath(file), *found) for file in files for found in findings(file)]
    for file, line, found, say in lines:
        print(f"{file}:{line}: found {found}; write: {say}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

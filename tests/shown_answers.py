"""Answers of exercises that a lesson shows in another cell: `python -m tests.shown_answers [LESSON …]` prints them.

An answer is what is between the marks of a solution, or a right answer that the exercise's tests know in another style.
Each statement of it is a pattern: its names stand for any expression, and a cell shows the answer if one of its
expressions is an instance of the pattern. `torch.sum(x, dim=-1)` and `x.sum(-1)` are the same, and so are `x.square()`
and `x**2`, and the factors of a product in any order. A pattern that says too little to be an answer, such as
`theta - rate * gradient`, does not count.

What a learner sees is every cell of code that is not folded, and the source of a function that a cell prints.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbformat import NotebookNode

from metaface_lessons.exercises.core import exercises
from metaface_lessons.sources import read_source, sources

ENOUGH = 1.5  # the weight from which a pattern is an answer, see `weight`
ALLOWED: dict[tuple[str, str], str] = {  # exercise, what a cell shows (80 characters) → why that is not its answer
    ("faces.split_by_identity", "faces.identity.unique(return_inverse=True)"): "it numbers the outputs of a network",
    ("maml.first_order", "torch.func.grad(lambda w: torch.func.grad(loss)(w) @ v)(at.detach())"): "it is (3.14)",
    ("maml.first_order", "torch.func.grad(loss)(w) @ v"): "it is (3.14)",
    ("maml.meta_gradient", "phi - 0.1 * a * (phi - c)"): "it is an inner step of the first example",
    ("reptile.joint", "beta * m + (1 - beta) * gradient(phi, a, c)"): "it is (4.29), a momentum",
    ("reptile.update", "beta * m + (1 - beta) * gradient(phi, a, c)"): "it is (4.29), a momentum",
    ("recognition.fnmr_at_fmr", "(genuine[:, None] > impostor).double().mean().item()"): "it is (7.3), the area",
    ("domains.mldg", "quartic(theta) + beta * waves(theta - alpha * g_s)"): "it is (8.4), whose gradient is asked for",
}
_COPIES = "it copies weights, and takes no mean"
_PROGRAM = "the clinic shows its healthy program, with second order, by design"
ALLOWED |= {
    ("clinic.inner_step", "F.cross_entropy(z @ W.T, torch.zeros(4, dtype=torch.int64))"): "it is patient 5",
    ("clinic.inner_step", "F.cross_entropy(z @ W.T, torch.ones(4, dtype=torch.int64))"): "it is patient 5",
    (
        "clinic.inner_step",
        "F.cross_entropy(torch.tanh(examples.x @ W1.T) @ head.view(WAYS, 32).T, examples.",
    ): "it is the loss of another network",
    (
        "clinic.inner_step",
        "F.cross_entropy(hidden.mean((2, 3)) @ w['head'].T, y)",
    ): "it is the loss of another network",
    ("clinic.second_order", "head - RATE * grad(head_loss)(head, support)"): _PROGRAM,
    ("clinic.second_order", "grad(head_loss)(middle - RATE * grad(head_loss)(middle, support), query)"): _PROGRAM,
    ("clinic.batched_gradient", "{n: w.detach().clone().requires_grad_() for n, w in healthy.items()}"): _COPIES,
    ("clinic.batched_gradient", "{n: w.detach().clone().requires_grad_() for n, w in start().items()}"): _COPIES,
    (
        "clinic.batched_gradient",
        "copy.deepcopy(program).loss({n: w.clone().detach().requires_grad_() for n, w in ",
    ): _COPIES,
    ("clinic.batched_gradient", "{name: v.clone().requires_grad_() for name, v in w.items()}"): _COPIES,
    ("clinic.batched_gradient", "{n: w.detach().clone() for n, w in theta.items()}"): _COPIES,
}

_MODULES = {"torch", "F", "np", "math", "itertools", "functional"}
_CONVERSIONS = {"float", "double", "int", "bool", "item", "tolist", "numpy", "clone", "detach"}
_LIGHT = {"len", "range", "list", "zip", "items", "Generator", "manual_seed", "append"}
_REGION = re.compile(r"(?ms)^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION")

Tree = tuple[Any, ...]  # the kind of a node, then its parts: trees, or texts and numbers


# ---------------------------------------------------------------------------------------------------- one form for code


def normal(node: ast.AST | None) -> Tree:
    """An expression in the one form that all ways to write it have."""
    match node:
        case ast.Name(id=name):
            return ("name", name)
        case ast.Constant(value=-1):
            return ("constant", 1)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):  # the last axis of two
            return ("constant", 1)
        case ast.Constant(value=value):
            return ("constant", value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ("sum", (), (normal(operand),))
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return _sum(node)
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            return _product(node)
        case ast.BinOp(left=left, op=op, right=right):
            return (type(op).__name__, normal(left), normal(right))
        case ast.UnaryOp(op=op, operand=operand):
            return (type(op).__name__, normal(operand))
        case ast.Call():
            return _call(node)
        case ast.Attribute(value=value, attr=attr):
            return ("attribute", attr, normal(value))
        case ast.Subscript(value=value, slice=place):
            return ("part", normal(value), normal(place))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return (type(op).__name__, normal(left), normal(right))
        case ast.ListComp(elt=elt) | ast.GeneratorExp(elt=elt):
            return ("for", normal(elt), *(normal(part) for g in node.generators for part in (g.target, g.iter, *g.ifs)))
        case None:
            return ("constant", None)
        case _:
            return (type(node).__name__, *(normal(child) for child in ast.iter_child_nodes(node)))


def _sum(node: ast.AST) -> Tree:
    plus: list[Tree] = []
    minus: list[Tree] = []

    def add(part: ast.AST, to: list[Tree], other: list[Tree]) -> None:
        match part:
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                add(left, to, other)
                add(right, to, other)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                add(left, to, other)
                add(right, other, to)
            case _:
                to.append(normal(part))

    add(node, plus, minus)
    return ("sum", tuple(plus), tuple(minus))


def _product(node: ast.AST) -> Tree:
    above: list[Tree] = []
    below: list[Tree] = []

    def add(part: ast.AST, to: list[Tree], other: list[Tree]) -> None:
        match part:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                add(left, to, other)
                add(right, to, other)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                add(left, to, other)
                add(right, other, to)
            case _:
                to.append(normal(part))

    add(node, above, below)
    return ("product", tuple(above), tuple(below))


def _call(node: ast.Call) -> Tree:
    """`torch.f(x)` and `x.f()` alike; axes without their keyword; conversions of type left out."""
    arguments = [normal(argument) for argument in node.args]
    named = []
    for keyword in node.keywords:
        if keyword.arg in ("dim", "axis"):
            arguments.append(normal(keyword.value))
        else:
            named.append(("keyword", keyword.arg, normal(keyword.value)))
    if not isinstance(node.func, ast.Attribute):
        return ("call", normal(node.func), *arguments, *named)
    owner, function = node.func.value, node.func.attr
    root = owner
    while isinstance(root, ast.Attribute):
        root = root.value
    if not (isinstance(root, ast.Name) and root.id in _MODULES):
        if function in _CONVERSIONS and not arguments:
            return normal(owner)
        arguments.insert(0, normal(owner))
    if function == "square" and len(arguments) == 1:
        return ("Pow", arguments[0], ("constant", 2))
    if function == "sqrt" and len(arguments) == 1:
        return ("Pow", arguments[0], ("constant", 0.5))
    return ("call", ("name", function), *arguments, *named)


def weight(tree: Tree, names: set[str]) -> float:
    """How much of an answer a pattern is: 1 for a function, a rare number or a setting, ½ for other operations.

    names: those that stand for any expression.
    """
    kind, *parts = tree
    inside = sum(weight(part, names) for part in _trees(parts))
    match tree:
        case ("call", ("name", name), *_):
            return inside + (0 if name in names or name in _LIGHT else 1)
        case ("constant", value):
            return 0.0 if value in (0, 1, 2, 0.5, None, ...) else 1.0
        case ("sum" | "product", one, other):
            return inside + 0.5 * (len(one) + len(other) - (kind == "product" or not other or bool(one)) * bool(one))
        case ("for", *_):
            return inside + 0.5
        case ("keyword", *_):
            return inside + 0.5
        case ("name", _) | ("Slice" | "Tuple" | "part" | "Load", *_):
            return inside
    return inside + 0.5


def _trees(parts: Sequence[Any]) -> Iterator[Tree]:
    """The trees among the parts of a node; a sum and a product keep theirs in tuples."""
    for part in parts:
        if isinstance(part, tuple) and part:
            if isinstance(part[0], str):
                yield part
            else:
                yield from part


def subtrees(tree: Tree) -> Iterator[Tree]:
    """A tree and everything in it."""
    yield tree
    for part in _trees(tree[1:]):
        yield from subtrees(part)


# -------------------------------------------------------------------------------------------------------- an instance


Bound = dict[str, Tree]


def instances(pattern: Any, tree: Any, names: set[str], bound: Bound) -> Iterator[Bound]:
    """The ways in which a tree is an instance of a pattern: what each of its names stands for."""
    match pattern:
        case ("name", name) if name in names:
            if name not in bound:
                yield bound | {name: tree}
            elif bound[name] == tree:
                yield bound
        case ("sum" | "product" as kind, one, other) if isinstance(tree, tuple) and tree[0] == kind:
            for first in _some(one, tree[1], names, bound):
                yield from _some(other, tree[2], names, first)
        case tuple() if isinstance(tree, tuple) and len(tree) == len(pattern):
            yield from _each(pattern, tree, names, bound)
        case _ if pattern == tree:
            yield bound


def _each(patterns: Sequence[Any], trees: Sequence[Any], names: set[str], bound: Bound) -> Iterator[Bound]:
    if not patterns:
        yield bound
        return
    for first in instances(patterns[0], trees[0], names, bound):
        yield from _each(patterns[1:], trees[1:], names, first)


def _some(patterns: Sequence[Any], trees: Sequence[Any], names: set[str], bound: Bound) -> Iterator[Bound]:
    """Terms or factors in any order; the tree may have more."""
    if not patterns:
        yield bound
        return
    for place, tree in enumerate(trees):
        for first in instances(patterns[0], tree, names, bound):
            yield from _some(patterns[1:], [*trees[:place], *trees[place + 1 :]], names, first)


# ------------------------------------------------------------------------------------------------ lessons and answers


def values(code: ast.AST) -> Iterator[ast.expr]:
    """What the statements of a code assign, return or call; the parts of a pair each for itself."""
    for node in ast.walk(code):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return | ast.Expr | ast.Lambda):
            value = node.body if isinstance(node, ast.Lambda) else node.value
            if isinstance(value, ast.Tuple):
                yield from value.elts
            elif value is not None and not isinstance(value, ast.Constant):
                yield value


def patterns(code: str) -> list[tuple[Tree, set[str]]]:
    """The patterns of an answer that say enough, each with the names that stand for any expression."""
    tree = ast.parse(code)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    found = []
    for value in values(tree):
        whole = normal(value)
        least = max(ENOUGH, 2 / 3 * weight(whole, names))  # most of it
        found += [(part, names) for part in subtrees(whole) if weight(part, names) >= least]
    return found


def answers(lesson: NotebookNode, number: str) -> Iterator[tuple[str, str]]:
    """The name of an exercise and an answer to it, for every exercise of a lesson and each way to write its answer."""
    names = {exercise.name.replace(".", "-").replace("_", "-"): exercise for exercise in exercises(number)}
    for cell in lesson.cells:
        if (region := _REGION.search(cell.source)) and (exercise := names.get(_identity(cell))):
            signature = cell.source[: region.start()].rpartition("\ndef ")
            head = "def " + (signature[2] if signature[1] else signature[2].removeprefix("def "))
            whole = head + region[2] if region[1] else textwrap.dedent(region[2])
            yield exercise.name, whole
            for answer in exercise.right_answers:
                if inspect.isfunction(answer):
                    yield exercise.name, textwrap.dedent(inspect.getsource(answer))


def _identity(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def visible(lesson: NotebookNode) -> Iterator[str]:
    """The code that a learner sees: cells that are not folded, without their solutions, and sources that they print."""
    imports: dict[str, ast.stmt] = {}  # what a name comes from
    for cell in lesson.cells:
        if cell.cell_type != "code":
            continue
        code = _REGION.sub(r"\1pass", cell.source)
        if not cell.metadata.get("jupyter", {}).get("source_hidden"):
            yield code
        tree = ast.parse(code)
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports |= {(alias.asname or alias.name).partition(".")[0]: node for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getsource"):
                asked = ast.unparse(node.args[0])
                if origin := imports.get(asked.partition(".")[0]):
                    known: dict[str, Any] = {}
                    exec(compile(ast.Module([origin], []), "lesson", "exec"), known)
                    yield textwrap.dedent(inspect.getsource(eval(asked, known)))


def shown(
    lesson: NotebookNode, number: str, allowed: Mapping[tuple[str, str], str] | None = None
) -> list[tuple[str, str]]:
    """The exercises whose answer a lesson shows in another cell, each with the expression that shows it.

    allowed: what only looks like an answer. `ALLOWED`.
    """
    allowed = ALLOWED if allowed is None else allowed
    seen = [
        (part, ast.unparse(value))
        for code in visible(lesson)
        for value in values(ast.parse(code))
        for part in subtrees(normal(value))
    ]
    found = []
    for name, code in answers(lesson, number):
        for pattern, names in patterns(code):
            for tree, text in seen:
                if tree[0] == pattern[0] and next(instances(pattern, tree, names, {}), None) is not None:
                    found.append((name, text[:80]))
    return [pair for pair in dict.fromkeys(found) if pair not in allowed]


def main(numbers: Sequence[str]) -> int:
    """Print what is shown. Returns 1 if anything is."""
    count = 0
    for number, path in sources().items():
        if not numbers or number in numbers:
            for name, text in shown(read_source(path), number):
                count += 1
                print(f"{number} {name}: {text}")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

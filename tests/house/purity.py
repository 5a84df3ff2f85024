"""Reads a module's syntax tree and tells what would make its result depend on more than its arguments.

The rules are an allow-list of imports, and a list of expressions: clocks, randomness, I/O, addresses and
string hashes, floats, and sets walked in the order of their hashes. Types are not inferred: a set is known by
a literal, a call, an annotation, or an attribute that some record annotates as a set.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

ALLOWED = frozenset(
    "__future__ abc array base64 binascii bisect collections contextlib copy dataclasses datetime enum "
    "fractions functools graphlib hashlib heapq hmac itertools json math msgspec operator re string struct "
    "tawtin textwrap types typing unicodedata".split()
)
"""Modules that do no I/O, read no clock and draw nothing; `datetime`'s clocks are forbidden below."""

FORBIDDEN_CALLS = frozenset(
    "open print input exec eval compile __import__ breakpoint hash id globals vars object float".split()
)
FORBIDDEN_METHODS = frozenset(
    {"now", "utcnow", "today", "read_text", "write_text", "read_bytes", "write_bytes"}
)
ORDER_BLIND = frozenset("sorted set frozenset len sum min max any all".split())
WALKERS = frozenset("list tuple iter enumerate zip map filter reversed dict".split())
SET_TYPES = frozenset({"set", "frozenset", "AbstractSet", "MutableSet"})


def is_set_annotation(node: ast.AST | None) -> bool:
    match node:
        case ast.Name(id=name):
            return name in SET_TYPES
        case ast.Subscript(value=ast.Name(id=name)):
            return name in SET_TYPES
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_set_annotation(left) or is_set_annotation(right)
        case _:
            return False


def set_attributes(tree: ast.Module) -> set[str]:
    """Names of the fields that classes of this module annotate as sets."""
    return {
        field.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and is_set_annotation(field.annotation)
    }


class _Reader(ast.NodeVisitor):
    def __init__(self, set_fields: frozenset[str]) -> None:
        self.found: list[tuple[int, str]] = []
        self.set_fields = set_fields
        self.set_names: list[set[str]] = [set()]
        self.order_does_not_matter: set[ast.AST] = set()

    def say(self, node: ast.expr | ast.stmt, what: str) -> None:
        self.found.append((node.lineno, what))

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            if name.name.partition(".")[0] not in ALLOWED:
                self.say(node, f"imports `{name.name}`")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level == 0 and module.partition(".")[0] not in ALLOWED:
            self.say(node, f"imports `{module}`")

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id=name) if name in FORBIDDEN_CALLS:
                self.say(node, f"calls `{name}`")
            case ast.Name(id=name) if name in ORDER_BLIND:
                self.order_does_not_matter.update(node.args)
            case ast.Name(id=name) if name in WALKERS and any(self.is_set(arg) for arg in node.args):
                self.say(node, f"walks a set by `{name}`, in the order of its hashes; use `sorted`")
            case ast.Attribute(attr=name) if name in FORBIDDEN_METHODS:
                self.say(node, f"calls `.{name}`")
            case ast.Attribute(value=value, attr="pop") if not node.args and self.is_set(value):
                self.say(node, "pops from a set, in the order of its hashes")
            case _:
                pass
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.say(node, f"keeps state in `global {', '.join(node.names)}`")

    # floats

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, (float, complex)):
            self.say(node, f"writes the float `{node.value}`")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "float":
            self.say(node, "names `float`")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Div):
            self.say(node, "divides by `/`, which makes a float; use `//`")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Div):
            self.say(node, "divides by `/=`, which makes a float; use `//=`")
        self.generic_visit(node)

    # sets

    def is_set(self, node: ast.AST) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.Name(id=name):
                return any(name in names for names in self.set_names)
            case ast.Attribute(attr=name):
                return name in self.set_fields
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self.is_set(left) or self.is_set(right)
            case _:
                return False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.set_names.append({arg.arg for arg in args if is_set_annotation(arg.annotation)})
        self.generic_visit(node)
        self.set_names.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                names = self.set_names[-1]
                (names.add if self.is_set(node.value) else names.discard)(target.id)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name) and is_set_annotation(node.annotation):
            self.set_names[-1].add(node.target.id)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self.check_walk(node.iter)
        self.generic_visit(node)

    def visit_comprehension_of(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> None:
        if node not in self.order_does_not_matter:
            for part in node.generators:
                self.check_walk(part.iter)
        self.generic_visit(node)

    visit_ListComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_of  # noqa: N815

    def visit_Starred(self, node: ast.Starred) -> None:
        self.check_walk(node.value)
        self.generic_visit(node)

    def check_walk(self, walked: ast.expr) -> None:
        if self.is_set(walked):
            self.say(
                walked, f"walks the set `{ast.unparse(walked)}` in the order of its hashes; use `sorted`"
            )


def impurities(source: str, *, set_fields: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Line and description of everything in `source` that a pure module must not have."""
    reader = _Reader(set_fields)
    reader.visit(ast.parse(source))
    yield from sorted(reader.found)

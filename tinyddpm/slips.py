"""Slips: the mistakes that people make in a formula, each made on purpose in the body of an equation.

A slip changes one place of the code: a sign, a forgotten root, one letter of the step for another, a sum for a mean, two
arguments swapped. The place may also be in the body of an equation that is called. Two things are done with them: a wrong
function of somebody else is compared with all of them, and if it agrees with one, that slip is named; and the checks of
the book have to notice every one (`tinyddpm mutants`).
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import door
from .equation import Equation, find
from .letters import Step

FIELDS = {
    "beta": "beta",
    "alpha": "alpha",
    "alpha_bar": "alpha_bar",
    "alpha_bar_prev": "alpha_bar of t - 1",
    "noise_var": "1 - alpha_bar",
    "noise_var_prev": "1 - alpha_bar of t - 1",
}
"""The numbers of a step in words."""

assert tuple(FIELDS) == Step._fields

OTHERS = {
    "sqrt": {},
    "exp": {"expm1": "exp(x) - 1 in the place of exp(x)"},
    "expm1": {"exp": "exp(x) in the place of exp(x) - 1"},
    "log": {"log1p": "log(1 + x) in the place of log(x)"},
    "log1p": {"log": "log(x) in the place of log(1 + x)"},
    "minimum": {"maximum": "the maximum in the place of the minimum"},
    "max": {"min": "the minimum in the place of the maximum"},
    "min": {"max": "the maximum in the place of the minimum"},
    "sum": {"mean": "a mean in the place of a sum"},
    "mean": {"sum": "a sum in the place of a mean"},
    "cumprod": {"cumsum": "a sum in the place of a product"},
    "sin": {"cos": "the cosine in the place of the sine"},
    "cos": {"sin": "the sine in the place of the cosine"},
}
"""Functions that are taken for each other, and how that is said."""

DROPPED = {
    "sqrt": "without the square root of {}",
    "exp": "without the exponential of {}",
    "expm1": "{} in the place of exp(x) - 1",
    "log": "without the logarithm of {}",
    "log1p": "{} in the place of log(1 + x)",
    "clipped": "without clipping {}",
    "abs": "without the absolute value of {}",
}
"""Functions that are forgotten, and how that is said."""

SWAPPED: dict[type[ast.operator], tuple[type[ast.operator], str]] = {
    ast.Add: (ast.Sub, "a minus in the place of a plus"),
    ast.Sub: (ast.Add, "a plus in the place of a minus"),
    ast.Mult: (ast.Div, "a division in the place of a multiplication"),
    ast.Div: (ast.Mult, "a multiplication in the place of a division"),
    ast.MatMult: (ast.Mult, "a product of elements in the place of a matrix product"),
    ast.FloorDiv: (ast.Div, "a division that does not round"),
}
"""The operator that is taken for another, and how that is said."""

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
"""The comparison that is taken for another."""

TECHNICAL = ("dtype", "device", "keepdims", "strict", "like", "generator", "compute_uv", "epsabs", "epsrel", "limit")
"""Arguments that are not part of a formula."""

SHAPING = (
    *("_like", "convert", "array_namespace", "device", "is_array", "asarray", "times_like", "grid", "reshape"),
    *("standard_normal", "halves"),
)
"""Functions of whose arguments only the shape, the library or the dtype counts."""

NUMBERS = ("Array", "float", "np.ndarray")
"""How results are annotated that are one number or array."""

STEPS = ("step", "step_s", "step_u", "step_prev", "step_next")


@dataclass(frozen=True)
class Edit:
    """One place of a tree, what is put there, and how that is said."""

    owner: str
    at: int
    make: Callable[[ast.expr], ast.expr]
    words: str


@dataclass(frozen=True)
class Slip:
    """An equation with a mistake in it."""

    function: Callable[..., Any]
    words: str
    """what is wrong with it, after "the book's": "with a minus in the place of a plus" """
    code: str
    """the statement that was changed, as it is now"""


class Program:
    """The body of an equation and of those that it calls, as trees whose nodes are numbered."""

    def __init__(self, known: Equation) -> None:
        self.known = known
        self.trees: dict[str, ast.FunctionDef] = {}
        self.places: dict[str, Equation] = {}
        self._codes: dict[str, Any] = {}
        self._numbers = itertools.count()
        self._add(known)

    def _add(self, known: Equation) -> None:
        function = door.bare(known.function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        tree.decorator_list, tree.returns = [], None
        for argument in [*tree.args.args, *tree.args.kwonlyargs, tree.args.vararg, tree.args.kwarg]:
            if argument is not None:
                argument.annotation = None
        tree.body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
        self.places[known.name] = known
        calls = _Calls(function, {name.arg for name in ast.walk(tree) if isinstance(name, ast.arg)})
        self.trees[known.name] = calls.visit(tree)
        for node in ast.walk(tree):
            node.number = next(self._numbers)  # type: ignore[attr-defined]
        for called in calls.found:
            if called.name not in self.trees:
                self._add(called)

    def edits(self, own: bool = False) -> Iterator[Edit]:
        """Every single slip; only those in the equation's own body, if asked for."""
        names = [self.known.name] if own else [*self.trees]
        for name in names:
            known = self.places[name]
            letters = {argument.name: argument.kind for argument in known.arguments}
            one = door.bare(known.function).__annotations__.get("return") in NUMBERS
            inside = "" if name == self.known.name else f", in {name}"
            for node, parents in _expressions(self.trees[name]):
                for words, make in itertools.chain(
                    _changes(node, parents, letters), _whole(node, parents) if one else ()
                ):
                    yield Edit(name, node.number, make, words + inside)  # type: ignore[attr-defined]

    def build(self, edits: Iterable[Edit]) -> Slip:
        """The equation with these slips in it, without its door."""
        by_owner: dict[str, dict[int, Edit]] = {}
        for edit in edits:
            by_owner.setdefault(edit.owner, {})[edit.at] = edit
        spaces: dict[str, dict[str, Any]] = {}
        code = ""
        for name, tree in self.trees.items():
            function = door.bare(self.places[name].function)
            spaces[name] = dict(function.__globals__)
            if name in by_owner:
                change = _Change(by_owner[name])
                changed = ast.fix_missing_locations(change.visit(copy.deepcopy(tree)))
                code, compiled = change.shown or code, compile(ast.Module([changed], []), f"<{name}>", "exec")
            else:
                if name not in self._codes:
                    module = ast.fix_missing_locations(ast.Module([copy.deepcopy(tree)], []))
                    self._codes[name] = compile(module, f"<{name}>", "exec")
                compiled = self._codes[name]
            exec(compiled, spaces[name])
        made = {name: space[self.trees[name].name] for name, space in spaces.items()}
        for space in spaces.values():
            space.update({_plain(name): function for name, function in made.items()})
        words = " and ".join(edit.words for edit in edits)
        return Slip(made[self.known.name], words, code)


def slips(known: Equation, own: bool = False) -> Iterator[Slip]:
    """The equation with every single slip, one after the other."""
    program, seen = Program(known), set()
    for edit in program.edits(own):
        made = program.build([edit])
        if (edit.owner, made.code) not in seen:
            seen.add((edit.owner, made.code))
            yield made


def likeliest_first(known: Equation) -> list[Slip]:
    """All slips of an equation; that a root is left out is likelier than that something is squared."""
    return sorted(slips(known), key=lambda slip: "the square of" in slip.words)


def pairs(known: Equation) -> Iterator[Slip]:
    """The equation with every two slips that are in different places."""
    program = Program(known)
    for first, second in itertools.combinations([*program.edits()], 2):
        if (first.owner, first.at) != (second.owner, second.at):
            yield program.build([first, second])


def _plain(name: str) -> str:
    return "_" + name.replace(".", "_")


class _Calls(ast.NodeTransformer):
    """Finds the equations that a body calls, and gives each a name of its own."""

    def __init__(self, function: Callable[..., Any], local: set[str]) -> None:
        self.globals, self.local, self.found = function.__globals__, local, list[Equation]()

    def _equation(self, node: ast.expr) -> Equation | None:
        parts = ast.unparse(node).split(".")
        if parts[0] in self.local or parts[0] not in self.globals:
            return None
        value = self.globals[parts[0]]
        for part in parts[1:]:
            value = getattr(value, part, None)
        if not hasattr(value, "arguments"):
            return None
        try:
            known = find(value)
        except ValueError:
            return None
        return known if "." not in known.function.__qualname__ else None

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name | ast.Attribute):
            known = self._equation(node.func)
            if known is not None:
                self.found.append(known)
                node.func = ast.copy_location(ast.Name(_plain(known.name), ast.Load()), node.func)
                node.letters = [argument.kind for argument in known.arguments]  # type: ignore[attr-defined]
        return node


class _Change(ast.NodeTransformer):
    """Makes edits in a tree, and keeps the statement that they are in."""

    def __init__(self, edits: dict[int, Edit]) -> None:
        self.edits, self.shown, self._hit = edits, "", False

    def visit(self, node: ast.AST) -> Any:
        new = self.generic_visit(node)
        edit = self.edits.get(getattr(node, "number", -1))
        if edit is not None and isinstance(new, ast.expr):
            new, self._hit = ast.copy_location(edit.make(new), new), True
        if isinstance(node, ast.stmt) and self._hit and not self.shown:
            self.shown = ast.unparse(ast.fix_missing_locations(new))
        return new


def _expressions(tree: ast.FunctionDef) -> Iterator[tuple[ast.expr, list[ast.AST]]]:
    """Every expression of the body, with what it stands in; no defaults, no indices, no texts."""

    def walk(node: ast.AST, parents: list[ast.AST]) -> Iterator[tuple[ast.expr, list[ast.AST]]]:
        if _is_technical(node):
            return
        if isinstance(node, ast.expr):
            yield node, parents
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.Subscript) and name == "slice":
                continue
            if isinstance(node, ast.Raise | ast.JoinedStr | ast.Lambda):
                continue
            if isinstance(node, ast.keyword) and node.arg in TECHNICAL:
                continue
            if isinstance(node, ast.Call) and name == "func" and not isinstance(value, ast.Attribute):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, [*parents, node])

    for statement in tree.body:
        yield from walk(statement, [])


def _is_technical(node: ast.AST) -> bool:
    """Whether a part is no formula: what only gives a shape, such as ``0 * x``, or a library and a dtype."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.Constant):
        return node.left.value == 0
    name = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
    return name in SHAPING


Made = tuple[str, Callable[[Any], ast.expr]]


def _changes(node: ast.expr, parents: list[ast.AST], letters: dict[str, str]) -> Iterator[Made]:
    """What can be wrong at one place, in words, and how to make it so."""
    parent = parents[-1] if parents else None
    if isinstance(getattr(node, "ctx", None), ast.Store):
        return
    if isinstance(node, ast.BinOp):
        squared = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Pow) and ast.unparse(parent.right) == "2"
        yield from ((words, make) for words, make in _operator(node) if not (squared and "wrong way round" in words))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "with the wrong sign", lambda n: n.operand
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield (
            f"with {ast.unparse(_compared(node))} in the place of {ast.unparse(node)}",
            _compared,
        )
    elif isinstance(node, ast.IfExp):
        yield "with the other case always", lambda n: n.orelse
        yield "with the first case always", lambda n: n.body
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Attribute) and node.attr in FIELDS and _is_step(node.value):
        name = FIELDS[node.attr] + _of(node.value)
        for other, said in FIELDS.items():
            if other != node.attr:
                yield f"with {said}{_of(node.value)} in the place of {name}", _field(other)
        yield from _roots(name)
    elif isinstance(node, ast.Name) and node.id in STEPS and node.id in letters:
        for other in letters:
            if other in STEPS and other != node.id:
                yield f"with the step {other} in the place of {node.id}", _name(other)
    elif isinstance(node, ast.Name) and letters.get(node.id) in ("number", "scalar", "pixels"):
        for other, kind in letters.items():
            if other != node.id and kind in ("number", "scalar", "pixels"):
                yield f"with {other} in the place of {node.id}", _name(other)
        if not (isinstance(parent, ast.Attribute | ast.Subscript)):
            yield from _roots(node.id)


def _whole(node: ast.expr, parents: list[ast.AST]) -> Iterator[Made]:
    """What can be wrong with a result, if it is one number or array."""
    if parents and isinstance(parents[-1], ast.Return):
        yield "with the opposite sign", lambda n: ast.UnaryOp(ast.USub(), n)
        yield "with the square root of the whole: a standard deviation in the place of a variance", _power(0.5)
        yield "with the square of the whole: a variance in the place of a standard deviation", _power(2)
        yield "with one over the whole", _power(-1)
        yield "with a factor of 2 too much", lambda n: ast.BinOp(ast.Constant(2), ast.Mult(), n)
        yield "with a factor of 1/2 too much", lambda n: ast.BinOp(n, ast.Div(), ast.Constant(2))


def _operator(node: ast.BinOp) -> Iterator[Made]:
    kind = type(node.op)
    if _is_technical(node.right):
        return
    if kind in SWAPPED:
        other, words = SWAPPED[kind]
        yield f"with {words}", lambda n: ast.BinOp(n.left, other(), n.right)
    left, right = _described(node.left), _described(node.right)
    if kind in (ast.Add, ast.Sub):
        yield f"without the term with {left}" if left else "without the first of two terms", _rest(kind)
        yield f"without the term with {right}" if right else "without the second of two terms", lambda n: n.left
        if kind is ast.Sub:
            yield "with a difference the wrong way round", lambda n: ast.BinOp(n.right, ast.Sub(), n.left)
    elif kind is ast.Mult:
        yield f"without the factor {left}" if left else "without a factor", lambda n: n.right
        yield f"without the factor {right}" if right else "without a factor", lambda n: n.left
    elif kind is ast.Div:
        yield f"without dividing by {right}" if right else "without a division", lambda n: n.left
        yield "with a fraction upside down", lambda n: ast.BinOp(n.right, ast.Div(), n.left)
    elif kind is ast.Pow:
        power = ast.unparse(node.right)
        yield (
            {"2": "without a square", "0.5": "without a square root"}.get(power, f"without the power {power}"),
            (lambda n: n.left),
        )
        if power == "2":
            yield "with the square root of what is squared", lambda n: ast.BinOp(n.left, ast.Pow(), ast.Constant(0.5))


def _rest(kind: type[ast.operator]) -> Callable[[Any], ast.expr]:
    return lambda n: n.right if kind is ast.Add else ast.UnaryOp(ast.USub(), n.right)


def _call(node: ast.Call) -> Iterator[Made]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    inner = node.args[0] if node.args else None
    what = (_described(inner) if inner is not None else "") or "an expression"
    for other, words in OTHERS.get(name, {}).items():
        yield f"with {words}", _renamed(other)
    if name in DROPPED and inner is not None:
        words = DROPPED[name].format(what)
        yield (words if words.startswith("without") else f"with {words}"), lambda n: n.args[0]
    if name == "sqrt":
        yield (
            f"with the square of {what} in the place of its square root",
            (lambda n: ast.BinOp(n.args[0], ast.Pow(), ast.Constant(2))),
        )
    if name == "where":
        condition = ast.unparse(node.args[0])
        last = "noise_var_prev == 0" in condition or "step_s.noise_var == 0" in condition
        yield (
            "with fresh noise in the last step too" if last else f"without a case of its own where {condition}",
            (lambda n: n.args[2]),
        )
        yield (
            "with no fresh noise in any step" if last else f"with the case where {condition} always",
            lambda n: n.args[1],
        )
    if name == "sum_dims":
        yield "with a mean over the dimensions in the place of a sum", _mean_dims
        yield "without the sum over the dimensions", lambda n: n.args[0]
    if name == "range" and len(node.args) > 1:
        for at in (0, 1):
            for by in (1, -1):
                yield (
                    f"with a loop that {'begins' if at == 0 else 'ends'} {'later' if by > 0 else 'earlier'}",
                    _moved(at, by),
                )
    kinds = getattr(node, "letters", None)
    if kinds:
        for first, second in itertools.combinations(range(len(node.args)), 2):
            alike = first < len(kinds) and second < len(kinds) and kinds[first] == kinds[second]
            if alike and ast.unparse(node.args[first]) != ast.unparse(node.args[second]):
                one, two = ast.unparse(node.args[first]), ast.unparse(node.args[second])
                said = f"with {one} and {two} swapped" if max(len(one), len(two)) < 12 else "with two arguments swapped"
                yield said, _swapped(first, second)


def _constant(node: ast.Constant) -> Iterator[Made]:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if value == 2:
        yield "without a factor or an exponent of 2", lambda n: ast.Constant(1)
        yield "with 4 in the place of 2", lambda n: ast.Constant(4)
    elif value == 1:
        yield "with 2 in the place of 1", lambda n: ast.Constant(2)
        yield "with 0 in the place of 1", lambda n: ast.Constant(0)
    elif value == 0:
        yield "with 1 in the place of 0", lambda n: ast.Constant(1)
    else:
        yield f"with twice {value:g} in its place", lambda n: ast.Constant(2 * value)
        yield f"with 1 in the place of {value:g}", lambda n: ast.Constant(1)


def _roots(name: str) -> Iterator[Made]:
    deviation = "a standard deviation in the place of a variance: " if "var" in name or "1 - " in name else ""
    yield f"with {deviation}the square root of {name} in its place", _power(0.5)
    yield f"with the square of {name} in its place", _power(2)


def _described(node: ast.AST) -> str:
    """A short part of a formula in words; empty if it is not short."""
    if isinstance(node, ast.Attribute) and node.attr in FIELDS and _is_step(node.value):
        return FIELDS[node.attr] + _of(node.value)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Call) and len(node.args) == 1 and ast.unparse(node.func) in ("sqrt", "exp", "log"):
        inner = _described(node.args[0])
        return f"{ast.unparse(node.func)}({inner})" if inner else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _described(node.right)
    return ""


def _is_step(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in (*STEPS, "jump")


def _of(node: ast.AST) -> str:
    name = ast.unparse(node)
    return "" if name == "step" else f" of {name}"


def _compared(node: Any) -> ast.expr:
    return ast.Compare(node.left, [COMPARED[type(node.ops[0])](), *node.ops[1:]], node.comparators)


def _field(other: str) -> Callable[[Any], ast.expr]:
    return lambda n: ast.Attribute(n.value, other, ast.Load())


def _power(exponent: float) -> Callable[[Any], ast.expr]:
    return lambda n: ast.BinOp(n, ast.Pow(), ast.Constant(exponent))


def _name(other: str) -> Callable[[Any], ast.expr]:
    return lambda n: ast.Name(other, ast.Load())


def _renamed(other: str) -> Callable[[Any], ast.expr]:
    def make(node: Any) -> ast.expr:
        if other == "maximum":  # the book has no helper for it: minus the minimum of what is negative
            least = ast.Call(node.func, [ast.UnaryOp(ast.USub(), each) for each in node.args], node.keywords)
            return ast.UnaryOp(ast.USub(), least)
        if isinstance(node.func, ast.Attribute):
            func: ast.expr = ast.Attribute(node.func.value, other, ast.Load())
        else:  # from where the helpers are: the chapter may not have imported it
            func = ast.Attribute(_imported("tinyddpm.arrays"), other, ast.Load())
            func = func if other in ARRAYS else ast.Name(other, ast.Load())
        return ast.Call(func, node.args, node.keywords)

    return make


ARRAYS = ("exp", "expm1", "log", "log1p")
"""Helpers of `arrays` by which others are replaced."""


def _imported(module: str) -> ast.expr:
    parsed = ast.parse(f"__import__('importlib').import_module({module!r})", mode="eval")
    return parsed.body


def _mean_dims(node: Any) -> ast.expr:
    flat = ast.parse("x.reshape(x.shape[0], -1).mean(1) if len(getattr(x, 'shape', ())) > 1 else x", mode="eval").body

    class Put(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            return copy.deepcopy(node.args[0]) if name.id == "x" else name

    return Put().visit(flat)  # type: ignore[no-any-return]


def _moved(at: int, by: int) -> Callable[[Any], ast.expr]:
    def make(node: Any) -> ast.expr:
        args = [*node.args]
        args[at] = ast.BinOp(args[at], ast.Add(), ast.Constant(by))
        return ast.Call(node.func, args, node.keywords)

    return make


def _swapped(first: int, second: int) -> Callable[[Any], ast.expr]:
    def make(node: Any) -> ast.expr:
        args = [*node.args]
        args[first], args[second] = args[second], args[first]
        return ast.Call(node.func, args, node.keywords)

    return make

"""Names of TensorRT's Python bindings that a module uses, by inference of the types of its variables.

The type of a variable comes from assignments and annotations, that of a call from the signatures in
`tensorrt_names.json`. Without a type or with `Any`, the variable's name decides (`_BY_NAME`), in modules that import
tensorrt.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_DATA = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())

VERSIONS: list[str] = [wheel["version"] for wheel in _DATA["wheels"]]
PACKAGE = ""  # stands for the package itself among the classes
_OTHER = "?"  # stands for classes that are not TensorRT's

# Types of variables of these names, as the bindings come without types.
_BY_NAME = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
}


@dataclass(frozen=True)
class Name:
    """A name of the bindings: the versions that have it, and the class of its value ("" if not known)."""

    versions: frozenset[str]
    gives: str

    @classmethod
    def parse(cls, entry: str) -> Name:
        """Read an entry such as "012 IBuilderConfig"."""
        where, _, gives = entry.partition(" ")
        return cls(frozenset(VERSIONS[int(digit)] for digit in where), gives)


NAMES = {
    owner: {name: Name.parse(entry) for name, entry in entries.items()} for owner, entries in _DATA["names"].items()
}


@dataclass(frozen=True, order=True)
class Use:
    """A name used in a file. `owner` is the class, PACKAGE for the package."""

    owner: str
    name: str
    place: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


class _Follower(ast.NodeVisitor):
    """Walks a module; after two walks every use is known, wherever attributes of objects are assigned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uses: set[Use] = set()
        self.shared: dict[str, str] = {}  # of the module, and of objects: keys like "self._network"
        self.local: dict[str, str] = {}
        self.depth = 0  # of functions

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "tensorrt":
                self.shared[alias.asname or alias.name] = PACKAGE

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        # What functions of our own other modules return.
        path = _PROJECT.joinpath(*(node.module or "").removeprefix("fairmot.").split(".")).with_suffix(".py")
        if not path.is_file():
            return
        names = {alias.name: alias.asname or alias.name for alias in node.names}
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.name in names and function.returns is not None:
                result = self.annotated(function.returns)
                if result is not None:
                    self.shared[names[function.name]] = result

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        result = self.annotated(node.returns)
        if result is not None:
            self.shared[node.name] = self.shared[f"self.{node.name}"] = result
        outer, self.local = self.local, dict(self.local)
        self.depth += 1
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            is_package = argument.arg in ("trt", "tensorrt") and ast.unparse(
                argument.annotation or ast.Constant(None)
            ) in ("Any", "ModuleType")
            kind = PACKAGE if is_package else self.annotated(argument.annotation)
            self.assign(ast.Name(argument.arg), kind)
        self.generic_visit(node)
        self.local = outer
        self.depth -= 1

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self.assign(target, self.assigned(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        self.assign(node.target, self.annotated(node.annotation))

    def visit_For(self, node: ast.For) -> None:
        self.assign(node.target, self.type_of(node.iter) or _OTHER)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.assign(node.target, self.type_of(node.iter) or _OTHER)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        for generator in node.generators:
            self.visit(generator)
        self.visit(node.elt)

    visit_GeneratorExp = visit_ListComp  # type: ignore[assignment]  # noqa: N815

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self.type_of(node.value)
        if owner not in (None, _OTHER) and not node.attr.startswith("__init"):
            self.uses.add(Use(owner, node.attr, f"{self.path}:{node.lineno}"))
        self.generic_visit(node)

    def assign(self, target: ast.expr, kind: str | None) -> None:
        """Note what a variable holds; None means that nothing is known but its name."""
        shared = isinstance(target, ast.Attribute) or self.depth == 0
        known = self.shared if shared else self.local
        if isinstance(target, ast.Tuple):
            for part in target.elts:
                self.assign(part, kind if kind == _OTHER else None)
        if kind is None:
            known.pop(ast.unparse(target), None)
        else:
            known[ast.unparse(target)] = kind

    def annotated(self, annotation: ast.expr | None) -> str | None:
        """Return the class that an annotation names, also in quotes or in a union; None for Any."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            left = self.annotated(annotation.left)
            return self.annotated(annotation.right) if left in (None, _OTHER) else left
        if annotation is None or ast.unparse(annotation) == "Any":
            return None
        found = self.type_of(annotation)
        return _OTHER if found is None else found

    def assigned(self, value: ast.expr) -> str | None:
        """Return the class of a value on the right of an assignment."""
        found = self.type_of(value)
        makes_other = isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1][:1].isupper()
        return _OTHER if found is None and makes_other else found

    def type_of(self, node: ast.expr) -> str | None:
        """Return the class of an expression; a class, its objects and lists of them are not told apart."""
        key = ast.unparse(node)
        known = self.local.get(key, self.shared.get(key))
        if known is not None:
            return known
        if isinstance(node, ast.Attribute):
            owner = self.type_of(node.value)
            if owner is not None:
                found = NAMES.get(owner, {}).get(node.attr)
                return found.gives or None if found else None
        if isinstance(node, ast.Call):
            return self.type_of(node.func)
        if isinstance(node, ast.Subscript):
            return self.type_of(node.value)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            for generator in node.generators:
                self.assign(generator.target, self.type_of(generator.iter) or _OTHER)
            return self.type_of(node.elt)
        if PACKAGE in (*self.shared.values(), *self.local.values()) and isinstance(node, ast.Name | ast.Attribute):
            return _BY_NAME.get(key.split(".")[-1].lstrip("_"))
        return None


def uses(path: Path) -> set[Use]:
    """Return the names of TensorRT that a Python file uses."""
    tree = ast.parse(path.read_text())
    follower = _Follower(path)
    for _ in range(2):
        follower.visit(tree)
    return follower.uses


def python_files(root: Path, *folders: str) -> Iterator[Path]:
    """Yield the Python files of some folders."""
    for folder in folders:
        yield from sorted((root / folder).rglob("*.py"))

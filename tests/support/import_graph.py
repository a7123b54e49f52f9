"""The import graph of a package, read from its source without importing it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One imported module and when it is imported."""

    name: str
    at_start: bool
    """Runs when its module is imported, i.e. stands neither in a function nor for types only."""


def imports_of(tree: ast.AST, package: str, at_start: bool = True) -> Iterator[Import]:
    """Yield every import below a node, including those in functions and those for types only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            # Each name may be a module of its own.
            yield from (Import(f"{base}.{alias.name}", at_start) for alias in node.names)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                for child in node.body:
                    yield from imports_of(ast.Module([child], []), package, False)
                yield from imports_of(ast.Module(node.orelse, []), package, at_start)
                continue
            yield from imports_of(node, package, at_start and not inside)


class ImportGraph:
    """The modules of a package and what each of them imports."""

    def __init__(self, root: Path, package: str = "app") -> None:
        self.package = package
        self.imports: dict[str, list[Import]] = {}
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            inside = name if is_package else ".".join(parts[:-1])
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self.imports[name] = list(imports_of(tree, inside))

    def module(self, name: str) -> str | None:
        """Return the longest prefix of a dotted name that is a module of the package."""
        while name:
            if name in self.imports:
                return name
            name = name.rpartition(".")[0]
        return None

    def used(self, name: str, *, at_start: bool = False) -> set[str]:
        """Return the modules of the package that a module imports."""
        found = {
            self.module(one.name) for one in self.imports[name] if one.at_start or not at_start
        }
        return {one for one in found if one is not None} - {name, self.package}

    def foreign(self, name: str, *, at_start: bool = False) -> set[str]:
        """Return the top-level names of the other packages that a module imports."""
        return {
            one.name.split(".")[0]
            for one in self.imports[name]
            if (one.at_start or not at_start) and self.module(one.name) is None
        }

    def reached(self, name: str, *, at_start: bool = False) -> set[str]:
        """Return a module and all that it imports of the package, directly or indirectly."""
        found, left = set(), [name]
        while left:
            if (one := left.pop()) not in found:
                found.add(one)
                left.extend(self.used(one, at_start=at_start))
        return found

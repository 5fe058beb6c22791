"""What a notebook defines, for tests: students read it there, so it stands nowhere else."""

import ast
import json
from pathlib import Path

ROOT = Path(__file__).parent.parent


def defined_in(notebook: str, *names: str) -> list:
    """The functions, classes or constants of those names. Besides them only the notebook's imports are run."""
    cells = json.loads((ROOT / notebook).read_text())["cells"]
    module = ast.parse("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    imports = ast.Import | ast.ImportFrom
    module.body = [part for part in module.body if isinstance(part, imports) or given_by(part) & {*names}]
    found: dict = {}
    exec(compile(module, notebook, "exec"), found)
    return [found[name] for name in names]


def given_by(part: ast.stmt) -> set[str]:
    """The names that a definition or an assignment gives a value to."""
    if isinstance(part, ast.Assign):
        return {node.id for target in part.targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return {getattr(part, "name", "")}

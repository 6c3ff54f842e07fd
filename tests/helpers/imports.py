"""What a command imports: it runs in a process of its own, which says so at its end."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = """
import json, runpy, sys
how, name, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = name
status = 0
try:
    getattr(runpy, how)(name, run_name="__main__")
except SystemExit as end:
    status = end.code
print()
print(json.dumps({"status": status or 0, "modules": list(sys.modules)}))
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended, what it printed, and all modules that there were at its end."""

    status: int
    stdout: str
    stderr: str
    modules: frozenset[str]


def ran(*words: str, module: bool = False, environment: dict[str, str] | None = None) -> Ran:
    """Run a script of the checkout, or a module as `python -m` does; `words` are its name and arguments."""
    how = "run_module" if module else "run_path"
    name, *arguments = words
    line = [sys.executable, "-c", RUN, how, name if module else str(ROOT / name), *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=60, check=True)
    *printed, last = done.stdout.splitlines()
    found = json.loads(last)
    return Ran(
        status=found["status"], stdout="\n".join(printed), stderr=done.stderr, modules=frozenset(found["modules"])
    )

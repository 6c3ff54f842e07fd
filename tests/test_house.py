"""The house stays as docs/architecture.md draws it: which way imports run, who may ask what, how long a file may be."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A room may import from itself and from lower floors, never sideways. Scripts at the root and benchmarks are on top.
# The floors of training/ are inside its own; a module's floor is that of its longest prefix.
FLOORS = {
    "dnnlib": 0,
    "torch_utils": 1,
    "training.methods": 2,
    "training.image_config": 2,
    "training.config": 3,
    "training.cameras": 4,
    "training.division": 4,
    "training.camera_checks": 5,
    "training.data": 6,
    "training.synthetic": 7,
    "training.rendering": 7,
    "training.networks": 8,
    "training.fakes": 8,
    "training.checkpoints": 9,
    "training.sampling": 9,
    "training.motion_likeness": 9,
    "training.judged": 9,
    "training.latent_components": 9,
    "training.loss": 10,
    "training.chain_loss": 11,
    "training.phases": 12,
    "training.runs": 12,
    "training.training_loop": 13,
    "training": 13,
    "detectors": 14,
    "metrics": 15,
    "preprocessing": 15,
    "applications": 15,
    "pv3d": 16,
    "viewer": 17,
}
TOP_FLOOR = 18
MAX_LINES = 350
COMMUNICATOR = "torch_utils/distributed.py"  # the one file that may use torch.distributed
CARRIER = "torch_utils/transfers.py"  # the one file that may copy without waiting
LAZY = "lazy_module"  # the function of dnnlib that imports a module later
SEEDER = "tests/helpers/tiny.py"  # the one file of the tests that may seed torch's own generator
TORCH_DRAWS = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
    *("rand_like", "randn_like", "randint_like"),
}
TENSOR_DRAWS = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_"}
SEEDABLE = {"default_rng", "RandomState", "SeedSequence", "Random"}  # generators that a seed is passed to
NOT_OURS = {"build", "dist", "node_modules", "__pycache__"}


class Module:
    """A source file: its path, dotted name, syntax tree and number of lines."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        parts = self.path.with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.package = ".".join(parts[:-1])
        source = path.read_text(encoding="utf-8")
        self.tree = ast.parse(source, str(path))
        self.lines = source.count("\n")

    @property
    def floor(self) -> int:
        return floor_of(self.name)

    @property
    def room(self) -> str:
        return room_of(self.name)

    def imports(self) -> Iterator[tuple[str, int]]:
        """(dotted name, line) of all imports, also lazy ones and in functions; `from a import b` gives `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self.package.split(".")[: 1 - node.level or None] if node.level else []
                start = ".".join([*base, *([node.module] if node.module else [])])
                yield from ((f"{start}.{alias.name}", node.lineno) for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == LAZY:
                yield lazily_imported(node), node.lineno


def lazily_imported(call: ast.Call) -> str:
    """The module that a call of LAZY imports; in tests it may be a variable, whose name is not one of ours."""
    (name,) = call.args
    return name.value if isinstance(name, ast.Constant) else f"<{ast.unparse(name)}>"


def modules(root: Path) -> list[Module]:
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not any(part.startswith(".") or part in NOT_OURS for part in path.relative_to(root).parts)
    ]
    return [Module(root, path) for path in paths]


def room_of(name: str) -> str:
    """The room that a module is in: the longest prefix of its dotted name that has a floor, else its first part."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in FLOORS), parts[0])


def floor_of(name: str) -> int:
    return FLOORS.get(room_of(name), TOP_FLOOR)


def wrong_directions(house: list[Module]) -> Iterator[str]:
    """Imports that run uphill, or sideways between the rooms of one floor."""
    packages = {module.path.with_suffix("").parts[0] for module in house}
    for module in house:
        if module.path.parts[0] == "tests":
            continue
        for name, line in module.imports():
            package, room = name.split(".")[0], room_of(name)
            if package not in packages or room == module.room:
                continue
            floor = floor_of(name)
            if floor > module.floor or package == "tests":
                yield f"{module.path}:{line} imports uphill: {name}"
            elif floor == module.floor < TOP_FLOOR:
                yield f"{module.path}:{line} imports sideways: {name}"


def circles(house: list[Module]) -> Iterator[str]:
    """Modules that import each other, directly or through others."""
    names = {module.name for module in house}

    def target(name: str) -> str | None:
        return name if name in names else name.rpartition(".")[0] if name.rpartition(".")[0] in names else None

    graph = {module.name: {target(name) for name, _ in module.imports()} - {None, module.name} for module in house}
    done: set[str] = set()
    trail: list[str] = []

    def visit(name: str) -> Iterator[str]:
        if name in trail:
            yield "circle: " + " -> ".join([*trail[trail.index(name) :], name])
        elif name not in done:
            trail.append(name)
            for other in sorted(graph[name]):
                yield from visit(other)
            trail.pop()
            done.add(name)

    for name in sorted(graph):
        yield from visit(name)


def asks_torch_distributed(house: list[Module]) -> Iterator[str]:
    """Uses of torch.distributed outside the one file for it."""
    for module in house:
        if module.path.as_posix() == COMMUNICATOR or module.path.parts[0] == "tests":
            continue
        lines = [line for name, line in module.imports() if f"{name}.".startswith("torch.distributed.")]
        lines += [
            node.lineno
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.distributed"
        ]
        yield from (f"{module.path}:{line} uses torch.distributed" for line in sorted(set(lines)))


def torch_below_its_floor(house: list[Module]) -> Iterator[str]:
    """dnnlib knows nothing of torch."""
    for module in house:
        if module.path.parts[0] == "dnnlib":
            yield from (
                f"{module.path}:{line} imports {name}"
                for name, line in module.imports()
                if name.split(".")[0] == "torch"
            )


def fixed_devices(house: list[Module]) -> Iterator[str]:
    """`.cuda()`: devices are passed in."""
    for module in house:
        yield from (
            f"{module.path}:{node.lineno} calls .cuda()"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
        )


def copies_that_do_not_block(house: list[Module]) -> Iterator[str]:
    """`non_blocking` outside the one file for it, which sees to it that the memory is pinned."""
    for module in house:
        if module.path.as_posix() != CARRIER and module.path.parts[0] != "tests":
            for node in ast.walk(module.tree):
                if isinstance(node, ast.keyword) and node.arg == "non_blocking":
                    yield f"{module.path}:{node.lineno} copies without blocking"


def long_files(house: list[Module]) -> Iterator[str]:
    yield from (f"{module.path} has {module.lines} lines" for module in house if module.lines > MAX_LINES)


def unseeded_draws(house: list[Module]) -> Iterator[str]:
    """Random numbers in tests that depend on which tests ran before: drawn from a generator that all of them share."""
    for module in house:
        if module.path.parts[0] != "tests":
            continue
        knows_random = any(name == "random" for name, _ in module.imports())
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and draws_unseeded(node, knows_random):
                yield f"{module.path}:{node.lineno} draws without a seed: {ast.unparse(node.func)}"
            elif isinstance(node, ast.Call) and reseeds(node) and module.path.as_posix() != SEEDER:
                yield f"{module.path}:{node.lineno} seeds for all tests: {ast.unparse(node.func)}"


def draws_unseeded(call: ast.Call, knows_random: bool) -> bool:
    """Whether a call draws from a shared generator; `knows_random`: Python's module of that name is imported."""
    owner, _, function = ast.unparse(call.func).rpartition(".")
    if owner in ("np.random", "numpy.random") or (owner == "random" and knows_random):
        return function not in SEEDABLE or not call.args
    if (owner == "torch" and function in TORCH_DRAWS) or (owner and function in TENSOR_DRAWS):
        return not any(keyword.arg == "generator" for keyword in call.keywords)
    return False


def reseeds(call: ast.Call) -> bool:
    """Whether a call seeds torch's own generator."""
    return ast.unparse(call.func) in ("torch.manual_seed", "torch.random.manual_seed", "torch.seed")


def unknown_lazy_imports(house: list[Module]) -> Iterator[str]:
    """Modules that are imported later, and not named by a literal."""
    for module in house:
        if module.path.parts[0] != "tests":
            yield from (f"{module.path}:{line} imports {name}" for name, line in module.imports() if name[:1] == "<")


RULES = [
    wrong_directions,
    circles,
    asks_torch_distributed,
    torch_below_its_floor,
    unknown_lazy_imports,
    fixed_devices,
    copies_that_do_not_block,
    long_files,
    unseeded_draws,
]


@pytest.fixture(scope="module")
def house() -> list[Module]:
    """The source files of this repository."""
    return modules(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps(rule, house):
    assert list(rule(house)) == []


BROKEN_HOUSES = [
    (wrong_directions, {"training/a.py": "def f():\n    from metrics import f", "metrics/f.py": ""}, "a.py:2 .*uphill"),
    (wrong_directions, {"dnnlib/a.py": "import torch_utils.b", "torch_utils/b.py": ""}, "uphill"),
    (wrong_directions, {"training/a.py": "import train", "train.py": ""}, "uphill"),
    (wrong_directions, {"train.py": "from tests import golden", "tests/golden.py": ""}, "uphill"),
    (wrong_directions, {"metrics/a.py": "from preprocessing.b import c", "preprocessing/b.py": ""}, "sideways"),
    (wrong_directions, {"training/config.py": "from training.cameras import f", "training/cameras.py": ""}, "uphill"),
    (wrong_directions, {"training/fakes.py": "from training.networks import f"}, "sideways"),
    (wrong_directions, {"training/a.py": "metrics = lazy_module('metrics.b')", "metrics/b.py": ""}, "a.py:1 .*uphill"),
    (wrong_directions, {"training/data/a.py": "from training.synthetic import b"}, "a.py:1 imports uphill"),
    (wrong_directions, {"applications/a.py": "import pv3d", "pv3d/__init__.py": ""}, "uphill"),
    (circles, {"training/a.py": "from training import b", "training/b.py": "from . import a"}, "a -> .*b -> .*a"),
    (circles, {"a/__init__.py": "from .b import x", "a/b.py": "from .c import y", "a/c.py": "import a"}, "a -> a.b"),
    (circles, {"a/b/c.py": "from ..d import x", "a/d.py": "from .b.c import x"}, "a.b.c -> a.d -> a.b.c"),
    (circles, {"a.py": "b = lazy.lazy_module('b')", "b.py": "import a"}, "a -> b -> a"),
    (asks_torch_distributed, {"training/a.py": "from torch import distributed as d"}, "a.py:1 uses"),
    (asks_torch_distributed, {"training/a.py": "import torch\ntorch.distributed.barrier()"}, "a.py:2 uses"),
    (asks_torch_distributed, {"training/a.py": "import torch.distributed.checkpoint"}, "a.py:1 uses"),
    (torch_below_its_floor, {"dnnlib/a.py": "from torch import nn"}, "a.py:1 imports torch.nn"),
    (unknown_lazy_imports, {"training/a.py": "m = lazy_module(name)"}, "a.py:1 imports <name>"),
    (fixed_devices, {"tests/a.py": "x.cuda(0)"}, "a.py:1 calls"),
    (copies_that_do_not_block, {"training/a.py": "x.to(device, non_blocking=True)"}, "a.py:1 copies"),
    (long_files, {"a.py": "x = 1\n" * 351}, "351 lines"),
    (unseeded_draws, {"tests/a.py": "x = torch.randn(3)"}, "a.py:1 draws without a seed: torch.randn"),
    (unseeded_draws, {"tests/a.py": "torch.rand_like(x)"}, "a.py:1 draws without a seed"),
    (unseeded_draws, {"tests/a.py": "nn.init.normal_(x)"}, "a.py:1 draws without a seed"),
    (unseeded_draws, {"tests/a.py": "np.random.default_rng()"}, "a.py:1 draws without a seed"),
    (unseeded_draws, {"tests/a.py": "np.random.rand(3)"}, "a.py:1 draws without a seed"),
    (unseeded_draws, {"tests/a.py": "import random\nrandom.choice(x)"}, "a.py:2 draws without a seed"),
    (unseeded_draws, {"tests/a.py": "torch.manual_seed(0)"}, "a.py:1 seeds for all tests"),
]


@pytest.mark.parametrize("rule, files, message", BROKEN_HOUSES)
def test_a_broken_house_is_noticed(tmp_path, rule, files, message):
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert re.search(message, "\n".join(rule(modules(tmp_path))))


def test_a_sound_house_is_quiet(tmp_path):
    sound = {
        "train.py": "import training.a\nfrom metrics import m",
        "metrics/m.py": "import training.a",
        "training/a.py": "from torch_utils.distributed import rank\nimport dnnlib",
        "dnnlib/__init__.py": "",
        "torch_utils/distributed.py": "import torch.distributed as dist",
        "tests/test_a.py": "import training.a, train",
        "tests/test_b.py": "torch.randn(3, generator=random)\nrandom.manual_seed(0)\nnp.random.default_rng(0).normal()",
        "tests/helpers/tiny.py": "torch.manual_seed(0)",
    }
    for name, content in sound.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    house = modules(tmp_path)
    assert len(house) == len(sound)
    assert [message for rule in RULES for message in rule(house)] == []

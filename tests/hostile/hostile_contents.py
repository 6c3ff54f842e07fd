"""Snapshots and training states with hostile contents, made from sound ones."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.helpers import edits
from tests.helpers.edits import Edit
from tests.hostile.outcomes import KEPT, MAY_BE_SOUND, SHOWN, TRAINED_FROM, UNREADABLE, Case, CheckpointOutcome
from tests.hostile.pickle_makers import MARK, NAME, Call, Make, file_of

CONFIG = "payload.config"
GENERATOR = "payload.config.generator"
WEIGHTS = "payload.weights"
AVERAGE = "payload.weights.G_ema"
BANK = "payload.camera_bank"
PROGRESS = "payload.progress"
KIMG = "payload.progress.kimg"
TIME = "payload.max_time"
WEIGHT = "decoder.net.0.weight"  # the one that is changed
INDEX_LENGTH = 4000  # bytes at the end of the file that its index is among


# --- Functions that return a change of a snapshot's content, in place or by what they return -------------------------


def changed(place: str, change: Callable[[Any], object]) -> Edit:
    """Return the change of what is at a dotted place."""

    def edit(content: Any) -> None:
        change(edits.at(content, tuple(place.split("."))))

    return edit


def put(place: str, value: Any) -> Edit:
    """Return the change that puts a value at a dotted place."""
    return edits.put(value, *place.split("."))


def drop(place: str) -> Edit:
    """Return the change that takes away what is at a dotted place."""
    return edits.drop(*place.split("."))


def with_weight(change: Callable[[torch.Tensor], Any]) -> Edit:
    """Return the change of one weight of the generator."""
    return changed(AVERAGE, lambda weights: weights.update({WEIGHT: change(weights[WEIGHT])}))


def one_for_a_number(weights: dict) -> None:
    """Put a weight whose name is a number in place of the last one."""
    weights.popitem()
    weights[7] = torch.zeros(1)


# --- Tables: name, the change of the content, what is expected -------------------------------------------------------

HEADERS: list[tuple[str, Edit, CheckpointOutcome]] = [
    ("kind a list", put("kind", ["snapshot"]), SHOWN),
    ("kind a table", put("kind", {}), SHOWN),
    ("kind none", put("kind", None), SHOWN),
    ("kind of two lines", put("kind", "a\nError: b\x1b[2J"), SHOWN),
    ("kind endless", put("kind", "x" * 10**6), SHOWN),
    ("kind state", put("kind", "state"), SHOWN),
    ("no kind", drop("kind"), SHOWN),
    ("version a list", put("version", [1]), UNREADABLE),
    ("version huge", put("version", 10**6000), UNREADABLE),
    ("version nan", put("version", math.nan), UNREADABLE),
    ("version 0", put("version", 0), UNREADABLE),
    ("version a text", put("version", "1"), UNREADABLE),
    ("no version", drop("version"), UNREADABLE),
    ("other kind", put("kind", "dream"), SHOWN),
    ("format a list", put("format", ["pv3d"]), UNREADABLE),
    ("other format", put("format", "pv4d"), UNREADABLE),
    ("no format", drop("format"), UNREADABLE),
    ("payload a list", put("payload", [1]), UNREADABLE),
    ("payload none", put("payload", None), UNREADABLE),
    ("payload a text", put("payload", "x"), UNREADABLE),
    ("no payload", drop("payload"), UNREADABLE),
    ("payload a tensor", put("payload", torch.zeros(3)), UNREADABLE),
    ("payload a module", put("payload", torch.nn.Identity()), UNREADABLE),
    ("nothing but a list", lambda content: [content], UNREADABLE),
    ("nothing but a tensor", lambda content: torch.zeros(3), UNREADABLE),
]

WIDE_AND_LARGE = {"channel_max": 8192, "channel_base": 2**22, "plane_resolution": 1024, "w_dim": 8192}
CONFIGS: list[tuple[str, Edit, CheckpointOutcome]] = [
    ("gone", drop(CONFIG), SHOWN),
    ("a list", put(CONFIG, []), SHOWN),
    ("a text", put(CONFIG, "x" * 10**6), SHOWN),
    ("other key", put(f"{CONFIG}.hue", 1), SHOWN),
    ("key of lines", put(f"{CONFIG}.a\nb", 1), SHOWN),
    ("key a number", changed(CONFIG, lambda config: config.update({3: 4, "x": 5})), SHOWN),
    ("section a list", put(GENERATOR, [1]), SHOWN),
    ("section a number", put(f"{CONFIG}.loss", 3.0), SHOWN),
    ("nested", put(GENERATOR, {"rendering": {"rendering": {}}}), SHOWN),
    ("image", put(f"{GENERATOR}.img_resolution", 10**9), SHOWN),
    ("image of 2 ** 40", put(f"{GENERATOR}.img_resolution", 2**40), SHOWN),
    ("planes", put(f"{GENERATOR}.plane_resolution", -16), SHOWN),
    ("zero planes", put(f"{GENERATOR}.plane_resolution", 0), SHOWN),
    ("z", put(f"{GENERATOR}.z_dim", 10**12), SHOWN),
    ("negative z", put(f"{GENERATOR}.z_dim", -1), SHOWN),
    ("w", put(f"{GENERATOR}.w_dim", 8192), TRAINED_FROM),
    ("whole number", put(f"{GENERATOR}.w_dim", 10**5000), SHOWN),
    ("layers", put(f"{GENERATOR}.mapping_layers", 10**9), SHOWN),
    ("base", put(f"{GENERATOR}.channel_base", 2**62), SHOWN),
    ("most", put(f"{GENERATOR}.channel_max", 2**62), SHOWN),
    ("wide planes", put(f"{GENERATOR}.plane_channels", 1024), TRAINED_FROM),
    ("blocks", put(f"{GENERATOR}.motion_blocks", 10**9), SHOWN),
    ("wide and large", changed(GENERATOR, lambda generator: generator.update(WIDE_AND_LARGE)), TRAINED_FROM),
    ("two channels", put(f"{GENERATOR}.sr_channels", [10**9, 10**9]), SHOWN),
    ("one channel", put(f"{GENERATOR}.sr_channels", [1]), SHOWN),
    ("channels of text", put(f"{GENERATOR}.sr_channels", ["a", "b"]), SHOWN),
    ("mode", put(f"{GENERATOR}.camera_mode", "x\ny"), SHOWN),
    ("mode a list", put(f"{GENERATOR}.camera_mode", ["MapT"]), SHOWN),
    ("bool", put(f"{GENERATOR}.z_dim", True), SHOWN),
    ("real", put(f"{GENERATOR}.z_dim", 128.0), SHOWN),
    ("nan", put(f"{GENERATOR}.rendering.near", math.nan), SHOWN),
    ("inf", put(f"{GENERATOR}.rendering.far", math.inf), SHOWN),
    ("real number", put("payload.config.loss.gamma", 10**400), SHOWN),
    ("box", put(f"{GENERATOR}.rendering.box_side", 0.0), SHOWN),
    ("rays", put(f"{GENERATOR}.rendering.resolution", 10**6), SHOWN),
    ("samples", put(f"{GENERATOR}.rendering.depth_samples", 10**9), SHOWN),
    ("decoder", put(f"{GENERATOR}.rendering.decoder_hidden", 2**40), SHOWN),
    ("betas", put("payload.config.training.betas", "ab"), SHOWN),
    ("nan betas", put("payload.config.training.betas", [math.nan, 0.9]), SHOWN),
    ("deep", put(CONFIG, {"generator": {"rendering": {"near": {"a": {"b": {}}}}}}), SHOWN),
    ("tensor", put(CONFIG, torch.ones(3)), SHOWN),
]

TENSORS: list[tuple[str, Edit, CheckpointOutcome]] = [
    ("nan", with_weight(lambda x: x * math.nan), KEPT),
    ("inf", with_weight(lambda x: x + math.inf), KEPT),
    ("inf in float32", with_weight(lambda x: x.double() + 1e300), KEPT),
    ("whole", with_weight(lambda x: x.long()), KEPT),
    ("complex", with_weight(lambda x: x.cfloat()), KEPT),
    ("bool", with_weight(lambda x: x > 0), KEPT),
    ("8-bit", with_weight(lambda x: x.to(torch.float8_e5m2)), KEPT),
    ("shape", with_weight(lambda x: x[:-1]), KEPT),
    ("turned", with_weight(lambda x: x.flatten()), KEPT),
    ("empty", with_weight(lambda x: x[:0]), KEPT),
    ("scalar", with_weight(lambda x: x[0, 0]), KEPT),
    ("sparse", with_weight(lambda x: x.to_sparse()), UNREADABLE),
    ("quantised", with_weight(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)), UNREADABLE),
    ("spread", with_weight(lambda x: torch.ones(1).expand(x.shape)), UNREADABLE),
    ("text", with_weight(lambda x: "x"), SHOWN),
    ("list", with_weight(lambda x: x.tolist()), SHOWN),
    ("none", with_weight(lambda x: None), SHOWN),
    ("meta", with_weight(lambda x: x.to("meta")), UNREADABLE),
    ("array", with_weight(lambda x: x.numpy()), UNREADABLE),
    ("missing", changed(AVERAGE, dict.popitem), KEPT),
    ("one more", changed(AVERAGE, lambda weights: weights.update({"more\n\x1b[2J": torch.zeros(1)})), KEPT),
    ("a number as key", changed(AVERAGE, lambda weights: weights.update({7: torch.zeros(1)})), KEPT),
    ("both a number", changed(AVERAGE, one_for_a_number), KEPT),
]

PARTS: list[tuple[str, Edit, CheckpointOutcome]] = [
    ("no weights", drop(WEIGHTS), SHOWN),
    ("weights a list", put(WEIGHTS, []), SHOWN),
    ("weights a tensor", put(WEIGHTS, torch.ones(3)), SHOWN),
    ("other network", put(f"{WEIGHTS}.H", {}), SHOWN),
    ("network a list", put(AVERAGE, []), SHOWN),
    ("network a tensor", put(AVERAGE, torch.ones(3)), SHOWN),
    ("no average", drop(AVERAGE), SHOWN),
    ("key a number", changed(WEIGHTS, lambda weights: weights.update({3: {}})), SHOWN),
    ("no bank", drop(BANK), SHOWN),
    ("bank a list", put(BANK, [[1.0]]), SHOWN),
    ("bank of 24", put(BANK, torch.zeros(1, 16, 24)), SHOWN),
    ("flat bank", put(BANK, torch.zeros(25)), SHOWN),
    ("bank of no frames", put(BANK, torch.zeros(3, 0, 25)), SHOWN),
    ("nan bank", put(BANK, torch.full((1, 16, 25), math.nan)), SHOWN),
    ("far bank", put(BANK, torch.full((1, 16, 25), 1e38)), SHOWN),
    ("whole bank", put(BANK, torch.zeros(1, 16, 25, dtype=torch.int64)), SHOWN),
    ("no progress", drop(PROGRESS), SHOWN),
    ("progress a list", put(PROGRESS, [2.0]), SHOWN),
    ("progress empty", put(PROGRESS, {}), SHOWN),
    ("kimg a text", put(KIMG, "2"), SHOWN),
    ("kimg a list", put(KIMG, [2]), SHOWN),
    ("kimg nan", put(KIMG, math.nan), SHOWN),
    ("kimg infinite", put(KIMG, math.inf), SHOWN),
    ("kimg negative", put(KIMG, -1.0), SHOWN),
    ("kimg huge", put(KIMG, 1e300), SHOWN),
    ("kimg whole", put(KIMG, 10**400), SHOWN),
    ("kimg bool", put(KIMG, True), SHOWN),
    ("kimg a tensor", put(KIMG, torch.zeros(3)), SHOWN),
    ("time a text", put(TIME, "1"), SHOWN),
    ("time nan", put(TIME, math.nan), SHOWN),
    ("time above 1", put(TIME, 1.5), SHOWN),
    ("time negative", put(TIME, -0.1), SHOWN),
    ("time whole", put(TIME, 10**400), SHOWN),
    ("time a tensor", put(TIME, torch.zeros(3)), SHOWN),
]


# --- Files -----------------------------------------------------------------------------------------------------------


def snapshot_with(change: Edit, good: Path) -> Make:
    """Return the maker of the good snapshot with its content changed."""

    def make(root: Path) -> Path:
        content = torch.load(good, weights_only=True)
        returned = change(content)
        torch.save(content if returned is None else returned, root / NAME)
        return root / NAME

    return make


def changed_cases(good: Path) -> list[Case]:
    """Return the snapshots with changed contents."""
    return [
        Case(f"{kind}: {name}", snapshot_with(change, good), expected)
        for kind, rows in (("header", HEADERS), ("config", CONFIGS), ("weights", TENSORS), ("part", PARTS))
        for name, change, expected in rows
    ]


def damaged_cases(good: Path) -> list[Case]:
    """Return files cut short, and with bits flipped all over or where the index is."""
    whole = good.read_bytes()
    dice = random.Random(0)

    def first(share: float) -> Make:
        return file_of(lambda: whole[: int(share * len(whole))])

    def without_last(count: int) -> Make:
        return file_of(lambda: whole[:-count])

    def anywhere() -> int:
        return dice.randrange(len(whole))

    def in_index() -> int:
        return -1 - dice.randrange(INDEX_LENGTH)

    def flipped(place: Callable[[], int], bits: int) -> Make:
        broken = bytearray(whole)
        for _ in range(bits):
            broken[place()] ^= 1 << dice.randrange(8)
        return file_of(lambda: bytes(broken))

    rows = [  # name, how it is made, what is expected
        ("cut: 0%", first(0.001), UNREADABLE),
        ("cut: 1%", first(0.01), UNREADABLE),
        ("cut: 10%", first(0.1), UNREADABLE),
        ("cut: 30%", first(0.3), UNREADABLE),
        ("cut: 50%", first(0.5), UNREADABLE),
        ("cut: 90%", first(0.9), UNREADABLE),
        ("cut: 99%", first(0.99), UNREADABLE),
        ("cut: 1 bytes", without_last(1), UNREADABLE),
        ("cut: 22 bytes", without_last(22), UNREADABLE),
        ("cut: 100 bytes", without_last(100), UNREADABLE),
        ("cut: 1000 bytes", without_last(1000), UNREADABLE),
        ("cut: in front", file_of(lambda: whole[1000:]), UNREADABLE),
        *((f"flipped: {number}", flipped(anywhere, 1 + number % 3 * 20), MAY_BE_SOUND) for number in range(12)),
        *((f"flipped behind: {number}", flipped(in_index, 1), MAY_BE_SOUND) for number in range(6)),
    ]
    return [Case(name, make, expected) for name, make, expected in rows]


def foreign_cases(good: Path) -> list[Case]:
    """Return what a checkpoint of the official PV3D holds, with hostile parts."""
    weights = torch.load(good, weights_only=True)["payload"]["weights"]["G_ema"]
    model = {f"generator_ema.{name}": value for name, value in weights.items()}
    bias = "generator_ema.decoder.net.0.bias"
    without_average = {name.replace("_ema", ""): value for name, value in model.items()}

    def saved(content: dict) -> Make:
        def make(root: Path) -> Path:
            torch.save(content, root / NAME)
            return root / NAME

        return make

    def with_entry(name: str, value: Any) -> Make:
        return saved({"model": model | {name: value}})

    rows = [  # name, how it is made, what is expected
        ("nan", with_entry(bias, model[bias] * math.nan), SHOWN),
        ("a call", with_entry(bias, Call(open, MARK, "w")), SHOWN),
        ("text", with_entry(bias, "x"), SHOWN),
        ("other shape", with_entry(bias, torch.zeros(3)), SHOWN),
        ("one more", with_entry("generator_ema.x\ny.weight", torch.zeros(3)), SHOWN),
        ("no average", saved({"model": without_average}), SHOWN),
        ("nothing", saved({"model": {}}), SHOWN),
    ]
    return [Case(f"foreign: {name}", make, expected) for name, make, expected in rows]


def cases(good: Path) -> list[Case]:
    """Return all of them; `good` is a sound snapshot."""
    return [*damaged_cases(good), *changed_cases(good), *foreign_cases(good)]

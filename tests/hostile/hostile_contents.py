"""Snapshots and training states with hostile contents, made from good ones. `SNAPSHOTS` maps a name to a case.

A case changes the payload of a good snapshot in place (or returns another one), or the bytes of its file.
"""

import copy
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.hostile.hostile_pickles import NAME, Call

READS = frozenset({"inspect"})  # may show all that can be shown
KEEPS = frozenset({"inspect", "export"})  # does not look at weights, which it copies to the bit
TRAINS = frozenset({"inspect", "export", "init"})  # takes the weights, whatever options lie beside them


class Case(NamedTuple):
    """`bears`: commands that may end well; all others end with a sentence."""

    change: Callable[[Any], Any]
    bears: frozenset[str] = frozenset()


def put(place: str, value: Any) -> Callable[[dict], None]:
    """Function that replaces what is at a dotted place; DELETE takes it away."""

    def change(content: dict) -> None:
        *outer, last = place.split(".")
        for key in outer:
            content = content[key]
        if value is DELETE:
            del content[last]
        else:
            content[last] = value

    return change


DELETE = object()
CONFIG, GENERATOR = "payload.config", "payload.config.generator"
HEADERS = {
    "kind a list": put("kind", ["snapshot"]),
    "kind a table": put("kind", {}),
    "kind none": put("kind", None),
    "kind of two lines": put("kind", "a\nError: b\x1b[2J"),
    "kind endless": put("kind", "x" * 10**6),
    "kind state": put("kind", "state"),
    "no kind": put("kind", DELETE),
    "version a list": put("version", [1]),
    "version huge": put("version", 10**6000),
    "version nan": put("version", math.nan),
    "version 0": put("version", 0),
    "version a text": put("version", "1"),
    "no version": put("version", DELETE),
    "other kind": put("kind", "dream"),
    "format a list": put("format", ["pv3d"]),
    "other format": put("format", "pv4d"),
    "no format": put("format", DELETE),
    "payload a list": put("payload", [1]),
    "payload none": put("payload", None),
    "payload a text": put("payload", "x"),
    "no payload": put("payload", DELETE),
    "payload a tensor": put("payload", torch.zeros(3)),
    "payload a module": put("payload", torch.nn.Linear(1, 1)),
    "nothing but a list": lambda content: [content],
    "nothing but a tensor": lambda content: torch.zeros(3),
}
CONFIGS = {
    "gone": put(CONFIG, DELETE),
    "a list": put(CONFIG, []),
    "a text": put(CONFIG, "x" * 10**6),
    "other key": put(f"{CONFIG}.hue", 1),
    "key of lines": put(f"{CONFIG}.a\nb", 1),
    "key a number": lambda content: content["payload"]["config"].update({3: 4, "x": 5}),
    "section a list": put(GENERATOR, [1]),
    "section a number": put(f"{CONFIG}.loss", 3.0),
    "nested": put(GENERATOR, {"rendering": {"rendering": {}}}),
    "image": put(f"{GENERATOR}.img_resolution", 10**9),
    "image of 2 ** 40": put(f"{GENERATOR}.img_resolution", 2**40),
    "planes": put(f"{GENERATOR}.plane_resolution", -16),
    "zero planes": put(f"{GENERATOR}.plane_resolution", 0),
    "z": put(f"{GENERATOR}.z_dim", 10**12),
    "negative z": put(f"{GENERATOR}.z_dim", -1),
    "w": put(f"{GENERATOR}.w_dim", 8192),
    "whole number": put(f"{GENERATOR}.w_dim", 10**5000),
    "layers": put(f"{GENERATOR}.mapping_layers", 10**9),
    "base": put(f"{GENERATOR}.channel_base", 2**62),
    "most": put(f"{GENERATOR}.channel_max", 2**62),
    "wide planes": put(f"{GENERATOR}.plane_channels", 1024),
    "blocks": put(f"{GENERATOR}.motion_blocks", 10**9),
    "wide and large": lambda content: content["payload"]["config"]["generator"].update(
        channel_max=8192, channel_base=2**22, plane_resolution=1024, w_dim=8192
    ),
    "two channels": put(f"{GENERATOR}.sr_channels", [10**9, 10**9]),
    "one channel": put(f"{GENERATOR}.sr_channels", [1]),
    "channels of text": put(f"{GENERATOR}.sr_channels", ["a", "b"]),
    "mode": put(f"{GENERATOR}.camera_mode", "x\ny"),
    "mode a list": put(f"{GENERATOR}.camera_mode", ["MapT"]),
    "bool": put(f"{GENERATOR}.z_dim", True),
    "real": put(f"{GENERATOR}.z_dim", 128.0),
    "nan": put(f"{GENERATOR}.rendering.near", math.nan),
    "inf": put(f"{GENERATOR}.rendering.far", math.inf),
    "real number": put("payload.config.loss.gamma", 10**400),
    "box": put(f"{GENERATOR}.rendering.box_side", 0.0),
    "rays": put(f"{GENERATOR}.rendering.resolution", 10**6),
    "samples": put(f"{GENERATOR}.rendering.depth_samples", 10**9),
    "decoder": put(f"{GENERATOR}.rendering.decoder_hidden", 2**40),
    "betas": put("payload.config.training.betas", "ab"),
    "nan betas": put("payload.config.training.betas", [math.nan, 0.9]),
    "deep": put(CONFIG, {"generator": {"rendering": {"near": {"a": {"b": {}}}}}}),
    "tensor": put(CONFIG, torch.ones(3)),
}
LIES = {"w", "wide planes", "wide and large"}  # possible, but not the options of these weights
WEIGHTS = "payload.weights"


def every(change: Callable[[torch.Tensor], Any]) -> Callable[[dict], None]:
    """Function that changes one weight of the generator."""
    return _entries(lambda weights: weights.update({"decoder.net.0.weight": change(weights["decoder.net.0.weight"])}))


def _entries(change: Callable[[dict], Any]) -> Callable[[dict], None]:
    def changed(content: dict) -> None:
        change(content["payload"]["weights"]["G_ema"])

    return changed


TENSORS = {
    "nan": Case(every(lambda x: x * math.nan), KEEPS),
    "inf": Case(every(lambda x: x + math.inf), KEEPS),
    "inf in float32": Case(every(lambda x: x.double() + 1e300), KEEPS),
    "whole": Case(every(lambda x: x.long()), KEEPS),
    "complex": Case(every(lambda x: x.cfloat()), KEEPS),
    "bool": Case(every(lambda x: x > 0), KEEPS),
    "8-bit": Case(every(lambda x: x.to(torch.float8_e5m2)), KEEPS),
    "shape": Case(every(lambda x: x[:-1]), KEEPS),
    "turned": Case(every(lambda x: x.flatten()), KEEPS),
    "empty": Case(every(lambda x: x[:0]), KEEPS),
    "scalar": Case(every(lambda x: x[0, 0]), KEEPS),
    "sparse": Case(every(lambda x: x.to_sparse())),
    "quantised": Case(every(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8))),
    "spread": Case(every(lambda x: torch.ones(1).expand(x.shape))),
    "text": Case(every(lambda x: "x"), READS),
    "list": Case(every(lambda x: x.tolist()), READS),
    "none": Case(every(lambda x: None), READS),
    "meta": Case(every(lambda x: x.to("meta"))),
    "array": Case(every(lambda x: x.numpy())),
    "missing": Case(_entries(lambda weights: weights.popitem()), KEEPS),
    "one more": Case(_entries(lambda weights: weights.update({"more\n\x1b[2J": torch.zeros(1)})), KEEPS),
    "a number as key": Case(_entries(lambda weights: weights.update({7: torch.zeros(1)})), KEEPS),
    "both a number": Case(_entries(lambda weights: (weights.popitem(), weights.update({7: torch.zeros(1)}))), KEEPS),
}
PARTS = {
    "no weights": put(WEIGHTS, DELETE),
    "weights a list": put(WEIGHTS, []),
    "weights a tensor": put(WEIGHTS, torch.ones(3)),
    "other network": put(f"{WEIGHTS}.H", {}),
    "network a list": put(f"{WEIGHTS}.G_ema", []),
    "network a tensor": put(f"{WEIGHTS}.G_ema", torch.ones(3)),
    "no average": put(f"{WEIGHTS}.G_ema", DELETE),
    "key a number": lambda content: content["payload"]["weights"].update({3: {}}),
    "no bank": put("payload.camera_bank", DELETE),
    "bank a list": put("payload.camera_bank", [[1.0]]),
    "bank of 24": put("payload.camera_bank", torch.zeros(1, 16, 24)),
    "flat bank": put("payload.camera_bank", torch.zeros(25)),
    "bank of no frames": put("payload.camera_bank", torch.zeros(3, 0, 25)),
    "nan bank": put("payload.camera_bank", torch.full((1, 16, 25), math.nan)),
    "far bank": put("payload.camera_bank", torch.full((1, 16, 25), 1e38)),
    "whole bank": put("payload.camera_bank", torch.zeros(1, 16, 25, dtype=torch.int64)),
    "no progress": put("payload.progress", DELETE),
    "progress a list": put("payload.progress", [2.0]),
    "progress empty": put("payload.progress", {}),
    "kimg a text": put("payload.progress.kimg", "2"),
    "kimg a list": put("payload.progress.kimg", [2]),
    "kimg nan": put("payload.progress.kimg", math.nan),
    "kimg infinite": put("payload.progress.kimg", math.inf),
    "kimg negative": put("payload.progress.kimg", -1.0),
    "kimg huge": put("payload.progress.kimg", 1e300),
    "kimg whole": put("payload.progress.kimg", 10**400),
    "kimg bool": put("payload.progress.kimg", True),
    "kimg a tensor": put("payload.progress.kimg", torch.zeros(3)),
}
SNAPSHOTS: dict[str, Case] = {
    **{f"header: {name}": Case(change, READS if "kind" in name else frozenset()) for name, change in HEADERS.items()},
    **{f"config: {name}": Case(change, TRAINS if name in LIES else READS) for name, change in CONFIGS.items()},
    **{f"weights: {name}": case for name, case in TENSORS.items()},
    **{f"part: {name}": Case(change, READS) for name, change in PARTS.items()},
}


def build(case: Case, good: Path, root: Path) -> Path:
    """The good snapshot's file, changed."""
    content = torch.load(good, weights_only=True)
    changed = case.change(content)
    torch.save(content if changed is None else changed, root / NAME)
    return root / NAME


def damaged(good: Path) -> dict[str, bytes]:
    """Files cut short, and with bits flipped or bytes lost all over."""
    whole, dice = good.read_bytes(), random.Random(0)
    found = {f"cut: {part:.0%}": whole[: int(part * len(whole))] for part in (0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99)}
    found |= {f"cut: {count} bytes": whole[:-count] for count in (1, 22, 100, 1000)}
    found["cut: in front"] = whole[1000:]
    for number in range(12):
        broken = bytearray(whole)
        for _ in range(1 + number % 3 * 20):
            broken[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        found[f"flipped: {number}"] = bytes(broken)
    for number in range(6):  # where the index is
        broken = bytearray(whole)
        broken[-1 - dice.randrange(4000)] ^= 1 << dice.randrange(8)
        found[f"flipped behind: {number}"] = bytes(broken)
    return found


def foreign(good: Path) -> dict[str, Any]:
    """What a checkpoint of the official PV3D holds, with hostile parts."""
    weights = torch.load(good, weights_only=True)["payload"]["weights"]["G_ema"]
    model = {f"generator_ema.{name}": value for name, value in weights.items()}
    key = "generator_ema.decoder.net.0.bias"

    def changed(**changes: Any) -> dict:
        return {"model": copy.copy(model) | {key: changes.pop("value", model[key])} | changes}

    return {
        "nan": changed(value=model[key] * math.nan),
        "a call": changed(value=Call(open, "was_run", "w")),
        "text": changed(value="x"),
        "other shape": changed(value=torch.zeros(3)),
        "one more": changed(**{"generator_ema.x\ny.weight": torch.zeros(3)}),
        "no average": {"model": {name.replace("_ema", ""): value for name, value in model.items()}},
        "nothing": {"model": {}},
    }

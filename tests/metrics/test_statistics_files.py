"""metrics.statistics_files: files come back as they went, others are refused, and a pickle cannot run anything."""

import io
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from metrics.frechet import FeatureMoments, frechet_distance
from metrics.statistics_files import Source, Statistics, load_statistics, read_reference_pickle, save_statistics
from tests.helpers.golden_metrics import array, hold

SOURCE = Source("i3d", "5139ceaf", "fvd5k_16f", "fingerprint")
ASKED = ("i3d", "5139ceaf", "fvd5k_16f")


def features(items: int = 12, dimension: int = 5) -> torch.Tensor:
    return torch.randn(items, dimension, generator=torch.Generator().manual_seed(0))


def statistics(kept: bool = True) -> Statistics:
    return Statistics(SOURCE, FeatureMoments.of(features()), features() if kept else None)


@pytest.mark.parametrize("kept", [True, False])
def test_round_trip(tmp_path, kept):
    save_statistics(tmp_path / "deep" / "a.npz", statistics(kept))
    found = load_statistics(tmp_path / "deep" / "a.npz", *ASKED)
    assert found.source == SOURCE
    assert found.moments.num == 12
    assert torch.equal(found.moments.total, statistics().moments.total)
    assert torch.equal(found.moments.outer, statistics().moments.outer)
    assert torch.equal(found.features, features()) if kept else found.features is None
    found.moments.add(features())  # arrays are writable copies
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


@pytest.mark.parametrize("changed", [{"detector": "random"}, {"checksum": "0"}, {"protocol": "fvd2048_16f"}])
def test_statistics_of_something_else_are_refused(tmp_path, changed):
    save_statistics(tmp_path / "a.npz", statistics())
    asked = replace(SOURCE, **changed)
    ((name, value),) = changed.items()
    with pytest.raises(UserError, match=rf"a\.npz have the {name} {getattr(SOURCE, name)}, but {value} is needed"):
        load_statistics(tmp_path / "a.npz", asked.detector, asked.checksum, asked.protocol)


def rewritten(path, **changes) -> None:
    """The file with some arrays replaced, or (None) left out."""
    save_statistics(path, statistics())
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_another_version_and_other_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    header = {"format": "pv3d-feature-statistics", "version": 1, "source": {}}
    for changes, message in (
        ({"header": np.array(json.dumps(header))}, "version 1, but this code reads version 2"),
        ({"header": np.array("{}")}, "no statistics file"),
        ({"header": None}, "no statistics file"),
        ({"header": np.array("[")}, "no statistics file"),
        ({"num": None}, "damaged"),
        ({"num": np.array(0)}, "damaged"),
        ({"total": np.zeros(4)}, "damaged"),
        ({"total": np.full(5, np.nan)}, "damaged"),
        ({"outer": np.zeros((5, 5))}, "damaged"),
        ({"outer": np.triu(np.ones((5, 5)))}, "damaged"),
        ({"features": np.zeros((3, 5))}, "damaged"),
        ({"total": np.array([object()] * 5)}, "damaged"),
    ):
        rewritten(path, **changes)
        with pytest.raises(UserError, match=message):
            load_statistics(path, *ASKED)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="no statistics file"):
        load_statistics(path, *ASKED)
    with pytest.raises(UserError, match="statistics file .* does not exist"):
        load_statistics(tmp_path / "b.npz", *ASKED)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_statistics(path, statistics())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:300] + bytes(8) + whole[308:], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged|no statistics file"):
            load_statistics(path, *ASKED)


def official(moments: FeatureMoments, **changes) -> dict:
    """The dictionary that the reference pickles."""
    return {
        "capture_all": False,
        "capture_mean_cov": True,
        "max_items": 5000,
        "num_items": moments.num,
        "num_features": moments.dimension,
        "all_features": [],
        "raw_mean": moments.total.numpy(),
        "raw_cov": moments.outer.numpy(),
        **changes,
    }


def pickled(content, protocol: int = 3, old_spelling: bool = True) -> bytes:
    """A pickle as numpy 1 writes it, or numpy 2."""
    data = pickle.dumps(content, protocol)
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") if old_spelling else data


@pytest.mark.parametrize("old_spelling", [True, False])
def test_reference_pickle(tmp_path, old_spelling):
    real = FeatureMoments.of(torch.from_numpy(array("fvd", "c_real")))
    (tmp_path / "a.pkl").write_bytes(pickled(official(real), old_spelling=old_spelling))
    found = read_reference_pickle(tmp_path / "a.pkl")
    assert torch.equal(found.outer, real.outer)
    assert torch.equal(found.total, real.total)
    assert found.num == 450
    gen = FeatureMoments.of(torch.from_numpy(array("fvd", "c_gen")))
    assert frechet_distance(gen, found).value == pytest.approx(float(array("fvd", "c_fvd")), rel=1e-8)
    turned = official(real, raw_cov=np.asfortranarray(real.outer.numpy()), raw_mean=real.total.numpy().astype(">f8"))
    (tmp_path / "a.pkl").write_bytes(pickled(turned, old_spelling=old_spelling))
    assert torch.equal(read_reference_pickle(tmp_path / "a.pkl").outer, real.outer)


def test_statistics_with_the_official_summary(tmp_path):
    """A file of the official one's form with its number, length of the mean and trace is read with these."""
    num, dimension, mean_norm, trace = array("fvd", "voxceleb512_summary")
    cov = array("fvd", "c_real").astype(np.float64)
    cov = np.cov(cov.T) * trace / np.trace(np.cov(cov.T))
    mean = np.linspace(-1, 1, int(dimension))
    mean *= mean_norm / np.linalg.norm(mean)
    content = {
        "capture_all": False,
        "capture_mean_cov": True,
        "max_items": 5000,
        "num_items": int(num),
        "num_features": int(dimension),
        "all_features": [],
        "raw_mean": num * mean,
        "raw_cov": num * (cov + np.outer(mean, mean)),
    }
    (tmp_path / "a.pkl").write_bytes(pickled(content))
    found = read_reference_pickle(tmp_path / "a.pkl")
    summary = [found.num, found.dimension, float(found.mean.norm()), float(found.cov.trace())]
    hold("fvd", "voxceleb512_summary", summary, rtol=1e-12)
    assert found.shortage is None
    assert abs(frechet_distance(found, found).value) < 1e-8


@pytest.mark.parametrize(
    "change",
    [
        {"raw_mean": np.zeros(4)},
        {"raw_cov": np.zeros((5, 4))},
        {"raw_cov": [1.0]},
        {"raw_mean": None},
        {"num_items": 0},
        {"num_items": True},
        {"num_items": 12.0},
        {"num_features": 4},
        {"raw_mean": np.full(5, np.inf)},
        {"raw_cov": -np.eye(5)},
        {"raw_mean": np.zeros(5, np.float32)},
        {"raw_cov": np.array([object()] * 5)},
        {"raw_mean": np.zeros(5, "U2")},
    ],
)
def test_pickles_with_other_content_are_refused(tmp_path, change):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickled(official(FeatureMoments.of(features()), **change)))
    with pytest.raises(UserError, match=r"a\.pkl (does not hold statistics|is not opened)"):
        read_reference_pickle(path)


class Runs:
    """Unpickled in the usual way, it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def malicious(mark) -> list[bytes]:
    command = f"touch {mark}"
    good = official(FeatureMoments.of(features()))
    calls = [
        Runs(os.system, command),
        Runs(eval, f"open({str(mark)!r}, 'w')"),
        Runs(subprocess.Popen, ["touch", mark]),
        Runs(exec, f"open({str(mark)!r}, 'w')"),
        Runs(getattr, str, "format"),
        Runs(open, str(mark), "w"),
    ]
    return [
        *(pickle.dumps(call, protocol) for call in calls[:4] for protocol in (0, 2, 4)),
        *(pickle.dumps({**good, "raw_mean": call}) for call in calls[3:]),
        b"cos\nsystem\n(S'" + command.encode() + b"'\ntR.",
        b"cnumpy\nsave\n(S'" + str(mark).encode() + b"'\nI0\ntR.",  # another name of numpy
        b"cnumpy.core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.",
        b"cnumpy\nndarray\n(I1000000000000\ntR.",  # memory
        b"cnumpy\nndarray.tofile\n.",
        pickle.dumps(good, 4)[:2] + b"\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"cnumpy\ndtype\n}S'__setstate__'\nI0\nsb.",  # state for a class
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        b"Pid\n.",
        b"\x80\x02\x82\x01.",
        b"Nr\xff\xff\xff\x7f.",
    ]  # 2 ** 31 remembered objects


def test_malicious_pickles_run_nothing(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "a.pkl"
    for content in malicious(mark):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.pkl (is not opened|does not hold)"):
            read_reference_pickle(path)
        assert not mark.exists()
    path.write_bytes(pickled(official(FeatureMoments.of(features()), all_features=Runs(os.system, f"touch {mark}"))))
    assert read_reference_pickle(path).num == 12 and not mark.exists(), "what is not needed is not looked at"
    path.write_bytes(pickle.dumps(Runs(os.system, f"touch {mark}")))
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the attack is one"


def test_damaged_pickles_are_refused(tmp_path):
    path, whole = tmp_path / "a.pkl", pickled(official(FeatureMoments.of(features())))
    random = np.random.default_rng(0)
    contents = [whole[:length] for length in range(0, len(whole), 37)]
    for _ in range(300):
        broken = bytearray(whole)
        broken[random.integers(len(whole))] = random.integers(256)
        contents.append(bytes(broken))
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            read_reference_pickle(path)  # a changed digit of a number can go unseen
        except UserError:
            refused += 1
    assert refused > len(whole) // 37
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="not a dictionary with num_features, num_items, raw_cov, raw_mean"):
        read_reference_pickle(path)
    with pytest.raises(UserError, match="does not exist"):
        read_reference_pickle(tmp_path / "b.pkl")


def test_numpy_is_not_asked(monkeypatch, tmp_path):
    """Stand-ins read the file: numpy's own functions for it are never called."""
    data = pickled(official(FeatureMoments.of(features())))
    assert {"_reconstruct", "ndarray", "dtype"} == {name for _, name in globals_of(data)}
    (tmp_path / "a.pkl").write_bytes(data)
    multiarray = sys.modules.get("numpy._core.multiarray") or sys.modules["numpy.core.multiarray"]
    monkeypatch.setattr(multiarray, "_reconstruct", None)
    assert read_reference_pickle(tmp_path / "a.pkl").num == 12


def globals_of(data: bytes) -> set[tuple[str, str]]:
    """Names that a pickle asks for."""
    found = set()

    class Watching(pickle.Unpickler):
        def find_class(self, module, name):
            found.add((module, name))
            return super().find_class(module, name)

    Watching(io.BytesIO(data)).load()
    return found

"""torch_utils.pickles.reader: what torch and pickle write comes back, and nothing that a file says is ever called."""

import io
import os
import pickle
import pickletools
import resource
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from dnnlib.files import FAULTS
from tests.helpers.recording import spy
from tests.helpers.tiny import normal
from torch_utils.pickles import reader
from torch_utils.pickles.machine import KEY_TYPES, MAX_STEPS, InertTensor, Malformed, Name, Record

MARKER = "was_run"


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own; hostile files would make a file MARKER in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / MARKER).exists(), "something in the file was run"


def weights() -> OrderedDict:
    state = OrderedDict(
        plain=normal(0, 3, 4),
        turned=normal(1, 3, 4).t(),
        parameter=torch.nn.Parameter(normal(2, 2)),
        empty=torch.zeros(0, 2),
        scalar=normal(3),
        view=torch.arange(5)[1:3],
        half=torch.ones(2).half(),
        bfloat=torch.ones(2).bfloat16(),
        flags=torch.tensor([True, False]),
        bytes=torch.arange(3, dtype=torch.uint8),
    )
    state._metadata = {"": {"version": 1}}
    return state


def save_zip(content, path):
    torch.save(content, path)


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_plain(content, path):
    path.write_bytes(pickle.dumps(content, protocol=4))


@pytest.mark.parametrize("save", [save_zip, save_legacy, save_plain])
def test_tensors_come_back(here, save):
    expected = weights()
    save({"model": expected, "shape": torch.zeros(2, 3).shape}, here / "a.pt")
    content = reader.read(here / "a.pt")
    assert type(content["model"]) is dict
    assert tuple(content["shape"]) == (2, 3)
    assert list(content["model"]) == list(expected)
    for name, inert in content["model"].items():
        assert type(inert) is InertTensor
        assert inert.shape == tuple(expected[name].shape)
        assert inert.tensor().dtype == expected[name].dtype
        assert torch.equal(inert.tensor(), expected[name].detach())


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(here, protocol):
    values = {
        "none": None,
        "flags": (True, False),
        "whole": [0, -1, 300, 2**40, -(2**2100)],
        "real": 0.1,
        "text": "é\n",
        "nested": [[], {}, (), ((1,), 2, (3, 4, 5, 6))],
        3: 4,
    }
    values["again"] = values["nested"]
    (here / "a.pkl").write_bytes(pickle.dumps(values, protocol=protocol))
    content = reader.read(here / "a.pkl")
    assert content == values
    assert content["again"] is content["nested"]


def test_objects_become_records(here):
    point = Call(complex, 1, 2)
    made = Call(Call, 5, state={"x": os.system})
    (here / "a.pkl").write_bytes(pickle.dumps([point, made, {(1, 2): 3}, {1, 2}, os.system], protocol=4))
    first, second, odd, members, name = reader.read(here / "a.pkl")
    assert (first.name, first.arguments) == ("builtins.complex", (1, 2))
    assert second.name.endswith(".Call")
    assert second.state == {"x": Name(f"{os.system.__module__}.system")}
    (key,) = odd
    assert type(key) is Record
    assert key.arguments == ((1, 2),)
    assert sorted(members) == [1, 2]
    assert type(name) is Name


@pytest.mark.parametrize("data", [b"(I7\nios\nsystem\n.", b"(cos\nsystem\nI7\no."])
def test_calls_of_old_protocols_become_records(here, data):
    (here / "a.pkl").write_bytes(data)
    call = reader.read(here / "a.pkl")
    assert (call.name, call.arguments) == ("os.system", (7,))


TOUCH = f"touch {MARKER}"
HOSTILE = {
    "os.system": Call(os.system, TOUCH),
    "eval": Call(eval, f"open('{MARKER}', 'w')"),
    "exec": Call(exec, f"open('{MARKER}', 'w')"),
    "open": Call(open, MARKER, "w"),
    "in a list": [1, {"model": Call(os.system, TOUCH)}],
    "as an argument": Call(list, Call(os.system, TOUCH)),
    "getattr": Call(getattr, Call(__import__, "os"), "system"),
    "as a state": Call(Call, state=Call(os.system, TOUCH)),
    "as a key": {Call(os.mkdir, MARKER): 1},
    "torch.load": Call(torch.load, MARKER),
    "nested pickle": Call(pickle.loads, pickle.dumps(Call(os.system, TOUCH))),
}


@pytest.mark.parametrize("save", [save_zip, save_legacy, save_plain])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_objects_are_inert(here, kind, save):
    save(HOSTILE[kind], here / "a.pkl")
    content = reader.read(here / "a.pkl")
    assert isinstance(content, (Record, list, dict))


STORAGE = b"ctorch.storage\n_load_from_bytes\n"
NAMES = b"\x80\x02(" + b"".join(b"cos\nf%d\n" % i for i in range(1000)) + b"l."
BROKEN = {
    "nothing": b"",
    "text": b"hello",
    "no end": b"\x80\x04]",
    "unknown": b"\x80\x04\xff.",
    "empty stack": b"\x80\x04.",
    "takes too much": b"\x80\x04\x85.",
    "no mark": b"\x80\x04K\x01t.",
    "no memo": b"\x80\x04h\x05.",
    "called result": b"\x80\x02cos\ngetattr\n(tR(tR.",
    "called number": b"\x80\x02K\x01(tR.",
    "state of a number": b"\x80\x02K\x01}b.",
    "state of a name": b"\x80\x02cos\nsystem\n}b.",
    "registry": b"\x80\x02\x82\x01.",
    "text reference": b"\x80\x02P0\n.",
    "reference": b"\x80\x02K\x01Q.",
    "out of band": b"\x80\x05\x97.",
    "odd entries": b"\x80\x02}(K\x01u.",
    "entries of a list": b"\x80\x02](K\x01K\x02u.",
    "no names": b"\x80\x04K\x01K\x02\x93.",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",
    "huge int": b"\x80\x04\x8b\xff\xff\xff\x7fx.",
    "pairs that are none": b"\x80\x02ccollections\nOrderedDict\n(](K\x01eetR.",
    "too long": b"\x80\x02" + b"}" * (MAX_STEPS + 1) + b".",
    "no storage": b"\x80\x04" + STORAGE + b"C\x03abc\x85R.",
    "pickle as storage": b"\x80\x04" + STORAGE + b"C\x02].\x85R.",
    "copies of copies": b"\x80\x02]("
    + b"K\x01K\x02\x86" * 30000
    + b"eq\x000"
    + b"ccollections\nOrderedDict\nh\x00\x85R0" * 1000
    + b"N.",
    "cut": pickle.dumps(weights(), protocol=4)[:-400],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pickles_are_refused(here, kind):
    (here / "a.pkl").write_bytes(BROKEN[kind])
    with pytest.raises((Malformed, EOFError)):
        reader.read(here / "a.pkl")


BOMBS = {
    "deep lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples as a key": b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.",
    "tuples that double, as a key": b"\x80\x02})" + b"2\x86" * 200 + b"K\x01s.",
    "deep calls": b"\x80\x02)" + b"cos\nf\nq\x000h\x00)R\x85" * 60_000 + b".",
    "far memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "names": NAMES,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_do_not_go_off(here, kind, monkeypatch):
    """Every instruction is one step, and nothing is hashed that may hold more than itself."""
    (here / "a.pkl").write_bytes(BOMBS[kind])
    machines = spy(monkeypatch, reader, "Machine")
    content = reader.read(here / "a.pkl")
    assert type(content) in (list, dict, tuple)
    instructions = sum(1 for _ in pickletools.genops(BOMBS[kind]))
    assert [call.output.steps for call in machines] == [instructions]
    for key in content if type(content) is dict else ():
        assert type(key) in (*KEY_TYPES, Record)


def tensor_file(offset=0, shape=(2, 3), stride=(3, 1), count=6, kind="FloatStorage", numbers=6) -> bytes:
    """A zip of torch.save with one tensor, and any description of it."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return ("storage", getattr(torch, kind), "0", "cpu", count) if value is MARKER else None

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump([Call(torch._utils._rebuild_tensor_v2, MARKER, offset, shape, stride, False, {})])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", stream.getvalue())
        archive.writestr("a/data/0", bytes(4 * numbers))
    return file.getvalue()


def test_a_described_tensor_comes_back(here):
    (here / "a.pt").write_bytes(tensor_file())
    (tensor,) = reader.read(here / "a.pt")
    assert torch.equal(tensor.tensor(), torch.zeros(2, 3))


@pytest.mark.parametrize(
    "description",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**70},
        {"offset": "0"},
        {"shape": (3, 3)},
        {"shape": (2**40, 3)},
        {"shape": (-2, 3)},
        {"shape": (2.0, 3)},
        {"shape": (True, 3)},
        {"shape": 6},
        {"stride": (4, 1)},
        {"stride": (3, 2**61)},
        {"stride": (-3, 1)},
        {"stride": (3,)},
        {"shape": (7, 1), "stride": (0, 0)},
        {"shape": (1,) * 20, "stride": (1,) * 20},
        {"count": 7},
        {"count": 2**50},
        {"count": -6},
        {"count": None},
        {"kind": "DoubleStorage"},
        {"kind": "device"},
        {"numbers": 5},
        {"numbers": 100},
    ],
)
def test_tensors_stay_inside_their_storage(here, description):
    (here / "a.pt").write_bytes(tensor_file(**description))
    with pytest.raises(Malformed):
        reader.read(here / "a.pt")


def rewrite(source, dest, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(dest, "w", compression) as new:
        for info in old.infolist():
            name = info.filename.rpartition("/")[2]
            new.writestr(info.filename, members.get(name, old.read(info)))


def test_zips_that_torch_does_not_write(here):
    torch.save(weights(), here / "a.pt")
    rewrite(here / "a.pt", here / "squeezed.pt", zipfile.ZIP_DEFLATED)
    rewrite(here / "a.pt", here / "big.pt", byteorder=b"big")
    (here / "cut.pt").write_bytes((here / "a.pt").read_bytes()[:-200])
    with zipfile.ZipFile(here / "other.pt", "w") as archive:
        archive.writestr("../x", b"")
    for name, why in (
        ("squeezed.pt", "compressed"),
        ("big.pt", "another byte order"),
        ("cut.pt", "not a zip file"),
        ("other.pt", "outside of the archive"),
    ):
        with pytest.raises(FAULTS, match=why):
            reader.read(here / name)


def test_flipped_bits_are_noticed(here):
    values = normal(0, 100)
    torch.save(values, here / "a.pt")
    data = bytearray((here / "a.pt").read_bytes())
    data[data.index(values.numpy().tobytes()) + 50] ^= 1
    (here / "a.pt").write_bytes(data)
    inert = reader.read(here / "a.pt")
    with pytest.raises(FAULTS, match="CRC"):
        inert.tensor()


def test_files_that_cannot_be_opened(here):
    for path in (here, here / "absent"):
        with pytest.raises(OSError):
            reader.read(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_what_is_not_finite_is_counted_in_pieces(monkeypatch, dtype):
    monkeypatch.setattr(reader, "PIECE", 10)
    tensor = torch.zeros(5, 3, 2, 2, dtype=dtype).to(memory_format=torch.channels_last)
    assert reader.non_finite(tensor) == (0, 0)
    tensor[0, 1, 0, 0] = tensor[4, 2, 1, 1] = torch.nan
    tensor[2, 0, 1, 0] = -torch.inf
    assert reader.non_finite(tensor) == reader.non_finite(tensor.transpose(0, 3)) == (2, 1)
    assert reader.non_finite(tensor[:, 1:]) == (2, 0)


def test_numbers_are_finite_in_the_type_that_they_are_used_in():
    large = torch.tensor([1e300, 0.0], dtype=torch.float64)
    assert reader.non_finite(large) == (0, 0)
    assert reader.non_finite(large, torch.float32) == (0, 1)
    eight_bits = torch.tensor([1, torch.nan, torch.inf]).to(torch.float8_e5m2)
    assert reader.non_finite(eight_bits) == (1, 1)
    for other in (torch.tensor(3), torch.zeros(2, 0), torch.tensor([True])):
        assert reader.non_finite(other) == (0, 0)


def test_looking_for_numbers_that_are_not_finite_takes_no_memory():
    tensor = torch.zeros(2**26)  # 256 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reader.non_finite(tensor, torch.float64) == (0, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB

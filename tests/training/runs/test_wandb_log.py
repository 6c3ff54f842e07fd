"""training.runs.wandb_log: a run in Weights & Biases, by a stand-in for the library and by the library offline."""

import json
import math
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dnnlib.errors import UserError
from tests.helpers.fake_wandb import Library
from training.runs.folder import RunFolder
from training.runs.progress import Progress
from training.runs.wandb_log import require_project


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunFolder:
    """A run's folder with its options, where TensorBoard is not installed."""
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    path = tmp_path / "00000-demo"
    path.mkdir()
    (path / "training_options.json").write_text('{"data": "heads.zip", "config": {"training": {"kimg": 8.0}}}')
    return RunFolder(path)


def use(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setitem(sys.modules, "wandb", library)
    return library


def ignored(line: str) -> None:
    raise AssertionError(f"no warning: {line}")


def test_it_is_given_options_statistics_and_pictures(run, monkeypatch):
    library = use(Library(), monkeypatch)
    with run:
        assert run.open_writers(Progress(), ignored, "team/faces") == "https://example.org/run"
        run.log(Progress(clips=2000), {"loss/g": 1.5})
        for name in ("fakes000002.000.png", "fakes000002.000.mp4", "fakes000001.000.png"):
            (run.path / name).write_bytes(b"")
        run.show(Progress(clips=2000))
    (shown,) = library.runs
    given = shown.given
    assert (given["entity"], given["project"], given["name"], given["resume"]) == (
        "team",
        "faces",
        "00000-demo",
        "allow",
    )
    assert given["dir"] == str(run.path) and given["config"]["config"]["training"] == {"kimg": 8.0}
    assert shown.metrics == [("kimg", None), ("*", "kimg")]
    pictures = {
        "fakes/mp4": ("video", str(run.path / "fakes000002.000.mp4")),
        "fakes/png": ("image", str(run.path / "fakes000002.000.png")),
    }
    assert shown.logged == [(2000, {"loss/g": 1.5, "kimg": 2.0}), (2000, {"kimg": 2.0, **pictures})]
    assert shown.finished and not library.asked


def test_each_start_goes_on_with_the_run_of_its_project(run, monkeypatch):
    library = use(Library(), monkeypatch)
    for project in ("pv3d", "pv3d", "other", "pv3d"):
        with RunFolder(run.path) as again:
            again.open_writers(Progress(), ignored, project)
            again.log(Progress(), {})
    first, second, other, last = (each.given["id"] for each in library.runs)
    assert first == second == last != other
    assert json.loads((run.path / "wandb.json").read_text()) == {"pv3d": first, "other": other}


def test_two_runs_are_two(run, tmp_path, monkeypatch):
    library = use(Library(), monkeypatch)
    second = RunFolder(tmp_path / "00001-demo")
    second.path.mkdir()
    (second.path / "training_options.json").write_text("{}")
    for each in (run, second):
        each.open_writers(Progress(), ignored, "pv3d")
    assert library.runs[0].given["id"] != library.runs[1].given["id"]


@pytest.mark.parametrize(
    "library, said",
    [
        (Library(logged_in=False), "RuntimeError: not logged in: run `wandb login`, or set WANDB_MODE=offline"),
        (Library(error=OSError("no\nsuch host")), "OSError: no such host"),
        (Library(error=SystemExit(1)), "SystemExit: 1"),
    ],
)
def test_a_start_that_fails_is_one_warning(run, monkeypatch, library, said):
    use(library, monkeypatch)
    warnings: list[str] = []
    with run:
        assert run.open_writers(Progress(), warnings.append, "pv3d") is None
        run.log(Progress(clips=2), {"x": 1.0})
        run.show(Progress(clips=2))
    assert warnings == [f"Nothing more of {run.path} goes to Weights & Biases ({said}); stats.jsonl holds the same."]
    assert (run.path / "stats.jsonl").exists()


@pytest.mark.parametrize("method", ["log", "finish"])
def test_a_later_failure_is_one_warning(run, monkeypatch, method):
    def fails(*_: object, **__: object) -> None:
        raise TimeoutError("two minutes are over")

    library = use(Library(), monkeypatch)
    warnings: list[str] = []
    with run:
        run.open_writers(Progress(), warnings.append, "pv3d")
        monkeypatch.setattr(library.runs[0], method, fails)
        run.log(Progress(clips=2), {"x": 1.0})
        run.log(Progress(clips=4), {"x": 1.0})
    assert len(warnings) == 1 and "TimeoutError: two minutes are over" in warnings[0]
    assert f"`wandb sync` sends what lies in {run.path / 'wandb'}" in warnings[0]
    assert len((run.path / "stats.jsonl").read_text().splitlines()) == 2


def test_a_run_that_wrote_nothing_else_goes(run, monkeypatch):
    use(Library(), monkeypatch)
    with run:
        run.open_writers(Progress(), ignored, "pv3d")
        (run.path / "wandb").mkdir()
        (run.path / "wandb" / "debug.log").write_text("")
    assert not run.path.exists()


@pytest.mark.parametrize("project", ["", "a/b/c", "/a", "a/", "a?b"])
def test_what_is_no_project_is_refused(monkeypatch, project):
    use(Library(), monkeypatch)
    with pytest.raises(UserError, match="is no project: give PROJECT or ENTITY/PROJECT"):
        require_project(project)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    require_project(None)
    with pytest.raises(UserError, match="Runs with --wandb need packages that do not import .*pip install wandb"):
        require_project("pv3d")


# --- The library itself -----------------------------------------------------------------------------------------------

BLOCK = 32768  # bytes
FULL, LAST = 1, 4  # types of parts: a whole record, the end of one


def records(path: Path) -> list[Any]:
    """Return what the library wrote into a file that `wandb sync` sends.

    Behind 7 bytes it is a log as of LevelDB: blocks, in which parts of records follow a checksum, a length and a type.
    """
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    content = path.read_bytes()
    found = []
    whole = b""
    place = 7
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:  # too little for a part: zeros
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            found.append(messages.Record.FromString(whole))
            whole = b""
    return found


def finished_records(path: Path) -> list[Any]:
    """Return the records of a run that has ended: the library's process writes them when it has time."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = records(path)
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written to its end")


def history(found: list[Any]) -> list[dict[str, Any]]:
    """Return what was logged, by name; of pictures what kind they are."""
    lines = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            lines.append({name: value for name, value in items.items() if name[0] != "_"} | {"step": items["_step"]})
    return lines


def test_the_library_takes_it_offline(run, monkeypatch, capfd):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    Image = pytest.importorskip("PIL.Image")
    for start, ticks in ((0, (2000, 4000)), (4000, (6000,))):
        with RunFolder(run.path) as again:
            assert again.open_writers(Progress(clips=start), ignored, "pv3d") is None
            for clips in ticks:
                again.log(Progress(clips=clips), {"loss/g": clips / 7, "loss/d": math.nan})
                Image.new("RGB", (4, 4)).save(run.path / f"fakes{clips / 1000:010.3f}.png")
                again.show(Progress(clips=clips))
    folders = sorted((run.path / "wandb").glob("offline-run-*"))
    (identity,) = json.loads((run.path / "wandb.json").read_text()).values()
    assert len(folders) == 2 and all(identity in folder.name for folder in folders)  # -1 behind it: in the same second
    found = []
    for folder in folders:
        found += finished_records(folder / f"run-{identity}.wandb")
    lines = history(found)
    assert [(line["step"], line["kimg"], line["loss/g"]) for line in lines] == [
        (clips, clips / 1000, pytest.approx(clips / 7)) for clips in (2000, 4000, 6000)
    ]
    assert all(line["fakes/png/_type"] == "image-file" for line in lines), lines
    assert len(list((run.path / "wandb").rglob("*.png"))) == 3
    (began, _) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    options = {item.key: json.loads(item.value_json) for item in began.config.update}
    assert options["data"] == "heads.zip" and options["config"]["training"]["kimg"] == 8.0
    assert (began.run_id, began.project, began.display_name) == (identity, "pv3d", "00000-demo")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")

"""training.checkpoints.sources: files, run folders, RUN/best, shipped models, by every command that reads one."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import calc_metrics
import checkpoint_tool
import edit_videos
import gen_videos
import pv3d
from dnnlib.errors import UserError
from training.checkpoints import sources

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(snapshot, tmp_path) -> Path:
    """The folder of a run with three snapshots, of which only the newest and the best can be read."""
    folder = tmp_path / "runs" / "00000-demo"
    folder.mkdir(parents=True)
    for kimg in ("000000.000", "000009.600"):
        (folder / f"network-snapshot-{kimg}.pkl").write_text("an older one")
    shutil.copy(snapshot, folder / "network-snapshot-000010.000.pkl")
    (folder / "training-state-000011.000.pt").write_text("no snapshot")
    shutil.copy(snapshot, folder / "best-snapshot.pkl")
    return folder


def test_a_folder_is_its_newest_snapshot_and_says_so(run):
    found = sources.found(run)
    assert found.path == run / "network-snapshot-000010.000.pkl"
    assert found.notes == (
        f"{found.path} is taken, the newest of 3 snapshots in that folder; {run / 'best'} would be its best.",
    )
    for name in ("best-snapshot.pkl", "network-snapshot-000000.000.pkl", "network-snapshot-000009.600.pkl"):
        (run / name).unlink()
    assert sources.found(str(run)).notes == (f"{found.path} is taken, the only snapshot in that folder.",)


def test_later_ones_of_more_digits_are_newer(run):
    (run / "network-snapshot-1000000.000.pkl").write_text("")
    assert sources.found(run).path.name == "network-snapshot-1000000.000.pkl"


def test_a_run_that_exported_its_tensors_is_still_its_newest_snapshot(run):
    newest = sources.found(run)
    (run / "model.safetensors").write_text("tensors of an older one")
    assert sources.found(run) == newest
    for path in run.glob("network-snapshot-*.pkl"):
        path.unlink()
    tensors = run / "model.safetensors"
    assert sources.found(run) == sources.Found(path=tensors, notes=(f"{tensors} is taken, a published model.",))


def test_the_best_one(run):
    best = run / "best-snapshot.pkl"
    assert sources.found(run / "best") == sources.Found(path=best, notes=(f"{run / 'best'} is {best}.",))
    best.unlink()
    with pytest.raises(UserError, match="has no best-snapshot.pkl, which training with --metrics keeps: give the fold"):
        sources.found(run / "best")
    (run / "best").write_text("a file of that name")
    assert sources.found(run / "best") == sources.Found(path=run / "best")


def test_files_and_what_is_not_there_are_what_they_are(snapshot, tmp_path):
    for path in (snapshot, tmp_path / "absent.pkl", tmp_path / "absent" / "best"):
        assert sources.found(str(path)) == sources.Found(path=path)


def test_a_shipped_model_by_its_name_and_a_path_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads").write_text("mine")
    assert sources.found("heads").path == sources.SHIPPED["heads"]
    assert sources.found("heads").notes[0].startswith("heads is the model that is shipped, /")
    for mine in ("./heads", Path("heads")):
        assert sources.found(mine) == sources.Found(path=Path("heads"))


def test_what_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    only_best = tmp_path / "only"
    only_best.mkdir()
    (only_best / "best-snapshot.pkl").write_text("")
    for source, sentence in (
        (
            tmp_path / "empty",
            r"empty is a folder without snapshots \(network-snapshot-\*.pkl\): give the folder of a run",
        ),
        (run.parent, f"runs is a folder without snapshots .*: give one of its folders, such as {run}"),
        (only_best, r"only is a folder without snapshots .*: give .*/only/best\.$"),
        ("https://example.org/a.pkl", "is an address: pv3d.load takes it, or download"),
    ):
        with pytest.raises(UserError, match=sentence):
            sources.found(source)


def test_what_lasts_is_a_file_or_a_shipped_model(run, snapshot, tmp_path):
    for path in (snapshot, tmp_path / "absent.pkl"):
        assert sources.lasting(str(path)) == path
    assert sources.lasting("heads") == sources.SHIPPED["heads"]
    for source, file in ((run, "network-snapshot-000010.000.pkl"), (run / "best", "best-snapshot.pkl")):
        with pytest.raises(UserError, match=f"{source} would be another .* trained on: give the file itself, .*{file}"):
            sources.lasting(str(source))


COMMANDS = [
    (gen_videos.main, ["--network={}", "--outdir={out}", "--seeds=0", "--frames=1", "--device=cpu"]),
    (edit_videos.main, ["interpolate", "--network={}", "--outdir={out}", "--start=0", "--end=1", "--frames=2"]),
    (checkpoint_tool.main, ["inspect", "{}"]),
    (checkpoint_tool.main, ["compact", "{}", "{out}.pkl"]),
    (calc_metrics.main, ["--network={}", "--metrics=motion2", "--detector=random", "--no-cache", "--device=cpu"]),
]


@pytest.mark.parametrize("command, words", COMMANDS, ids=["gen", "edit", "inspect", "compact", "scores"])
def test_every_command_takes_a_run_and_says_what_it_took(command, words, run, tmp_path):
    def call(source: Path, out: str):
        return CliRunner().invoke(command, [word.format(source, out=tmp_path / out) for word in words])

    newest = call(run, "a")
    assert newest.exit_code == 0, (newest.output, newest.exc_info)
    assert "network-snapshot-000010.000.pkl is taken, the newest of 3" in newest.stderr
    best = call(run / "best", "b")
    assert best.exit_code == 0 and f"{run / 'best'} is {run / 'best-snapshot.pkl'}." in best.stderr
    refused = call(run.parent, "c")
    assert refused.exit_code == 2 and "is a folder without snapshots" in refused.stderr
    assert not (tmp_path / "c").exists()


def test_from_python(run):
    assert pv3d.load(run, device="cpu").G.z_dim == 8
    assert pv3d.load(str(run / "best"), device="cpu").G.z_dim == 8

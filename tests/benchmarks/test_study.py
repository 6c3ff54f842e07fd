"""benchmarks/study.py: what seeds bear, which rows there are, what of a run is done once, and what is refused."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import study, study_runs
from benchmarks.study_data import Dataset
from benchmarks.study_rows import ROWS, Row
from benchmarks.study_runs import Run, Settings, Study
from benchmarks.study_scores import Scoring, Trained, scores_file
from benchmarks.study_statistics import Spread, agreement, best_row, is_worse, losses, marks
from dnnlib import json_lines
from dnnlib.errors import UserError

# --- What seeds bear --------------------------------------------------------------------------------------------------


def test_spreads_are_those_of_samples():
    spread = Spread.of([1.0, 2.0, 3.0, math.nan])
    assert (spread.mean, spread.deviation, spread.count) == (2, 1, 3)
    assert str(spread) == "2 ± 1"
    assert str(Spread.of([1234.56, 1486.2])) == "1360 ± 180", "no powers of ten"
    assert str(Spread.of([0.5])) == "0.5" and math.isnan(Spread.of([0.5]).deviation)
    assert str(Spread.of([math.nan])) == "unknown"


def test_what_is_better_depends_on_the_metric():
    assert losses("fvd64_16f", [3.0], None) == [3]
    assert losses("depth64", [0.75], 0.9) == [-0.75]
    assert losses("diversity64", [24.0, 36.0], 30.0) == [6, 6], "as much as real ones have is best"
    assert losses("motion-share16", [0.5], None) is None


@pytest.mark.parametrize(
    "rows, best",
    [
        ({"a": [1, 3], "b": [3.5, 3.5]}, "a"),  # 1.5 apart, the deviation is 1.414
        ({"a": [1, 3], "b": [3.4, 3.4]}, None),
        ({"a": [2, 2], "b": [2, 5]}, None),  # 1.5 apart, the deviation of the second is 2.12
        ({"a": [2, 2], "b": [1, 1], "c": [9, 9]}, "b"),
        ({"a": [2], "b": [1]}, None),  # nobody knows how seeds spread
        ({"a": [2, 2], "b": [1]}, None),
        ({"a": [2, 2], "b": [2, 2]}, None),
        ({"a": [1, 1], "b": []}, None),
    ],
)
def test_the_best_row_is_marked_only_where_the_spread_bears_it(rows, best):
    assert best_row(rows) == best
    assert [name for name, said in marks(rows).items() if "best" in said] == ([best] if best else [])


def test_a_row_is_worse_by_more_than_the_deviation_of_the_first():
    assert is_worse([1, 3], [3.5]) and not is_worse([1, 3], [3.4]) and not is_worse([1, 3], [0.1])
    assert not is_worse([2], [100.0]), "a single seed has no deviation"
    assert marks({"first": [1, 3], "other": [0, 7], "best": [-9, -9]}) == {
        "first": [],
        "other": ["worse"],
        "best": ["best"],
    }


def test_orders_are_compared_where_the_spread_bears_one():
    paper = {"a": 1.0, "b": 2.0, "c": 3.0, "gone": 4.0}
    assert agreement(paper, {"a": [5, 5], "b": [6, 6], "c": [7, 7], "own": [0, 0]}) == (3, 3)
    assert agreement(paper, {"a": [7, 7], "b": [6, 6], "c": [5, 5]}) == (0, 3)
    assert agreement(paper, {"a": [5, 5], "b": [4, 8], "c": [9, 9]}) == (2, 2), "a and b are not apart"
    assert agreement(paper, {"a": [5], "b": [6]}) == (0, 0)


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [4, 8, 12])
@pytest.mark.parametrize(
    "kimg, snapshots", [(8, 4), (8, 3), (0.2, 7), (25, 10), (0.024, 2), (1.5, 1), (200, 6), (3, 16)]
)
def test_snapshots_are_even_and_the_last_one_is_the_end(kimg, snapshots, batch, tmp_path):
    """By the rule of the training loop."""
    flags = dict(option.removeprefix("--").split("=") for option in study_runs.length(kimg, snapshots))
    tick, snap = round(float(flags["tick"]) * 1000), int(flags["snap"])
    places, clips = [], 0
    while clips < kimg * 1000:
        before = clips // tick
        clips += batch
        if clips >= kimg * 1000 or clips // tick // snap > before // snap:
            places.append(clips)
    assert len(places) == snapshots
    names = [
        f"network-snapshot-{place / 1000:010.3f}.pkl" for place in sorted({*places, max(places[-1] - 3 * batch, batch)})
    ]
    for name in names:
        (tmp_path / name).touch()
    due = study_runs.due_snapshots(tmp_path, settings(kimg=kimg, snapshots=snapshots))
    assert [path.name for path in due] == [f"network-snapshot-{place / 1000:010.3f}.pkl" for place in places]
    wanted = [kimg * 1000 * number / snapshots for number in range(1, snapshots + 1)]
    assert places == pytest.approx(wanted, abs=batch + snap * snapshots)


def settings(**changes) -> Settings:
    """Return settings of two snapshots."""
    values = {"kimg": 0.016, "snapshots": 2, "clips": 4, "test_clips": 4, "frames": 16, "resolution": 64}
    return Settings(
        **values | {"yaw_range": None, "options": ("--cmax=8",), "device": "cpu", "precision": "bf16"} | changes
    )


def study_in(place: Path, metrics: Sequence[str] = ("fvd4_16f", "diversity4"), **changes) -> Study:
    """Return a study whose data does not exist."""
    scoring = Scoring(
        data=place / "test.zip",
        fingerprint="of test",
        metrics=tuple(metrics),
        detector="random",
        folder=None,
        cache=place / "cache",
        code="scorer",
        threads=1,
    )
    data = {name: Dataset(path=place / f"{name}.zip", fingerprint=f"of {name}") for name in ("train", "few", "stills")}
    return Study(settings=settings(**changes), data=data, scoring=scoring)


def with_data(place: Path, **fingerprints: str) -> Study:
    """Return a study of which some datasets have other fingerprints."""
    study = study_in(place)
    changed = {name: Dataset(path=study.data[name].path, fingerprint=value) for name, value in fingerprints.items()}
    return Study(settings=study.settings, data={**study.data, **changed}, scoring=study.scoring)


def run_in(place: Path, options: Sequence[str] = (), seed: int = 0) -> Run:
    """Return a run of a row of one's own."""
    return Run(row=Row(name="mine", options=tuple(options)), seed=seed, place=place / "mine" / f"seed{seed}")


class Commands:
    """Writes what commands would, keeps what they were, and ends with the statuses given, then with 0."""

    def __init__(self, *statuses: int, snapshots: Sequence[str] = ("000000.008", "000000.016")):
        self.statuses = list(statuses)
        self.snapshots = snapshots
        self.given: list[list[str]] = []

    def __call__(self, checkout: Path, command: Sequence[str], log: Path) -> int:
        self.given.append(list(command))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write("starting\nError: <b>too</b> hot\n")
        status = self.statuses.pop(0) if self.statuses else 0
        flags = dict(word.removeprefix("--").split("=", 1) for word in command[1:] if "=" in word)
        if status == 0 and command[0] == "train.py":
            folder = Path(flags["outdir"]) / "00000-demo"
            folder.mkdir(parents=True)
            for number, stamp in enumerate(self.snapshots):
                (folder / f"network-snapshot-{stamp}.pkl").write_text(f"{number} {flags['seed']}")
            (folder / "stats.jsonl").write_text('{"time/sec_per_kimg": 90}\n{"time/sec_per_kimg": 70}\n')
        elif status == 0 and command[0] == "gen_videos.py":
            Path(flags["outdir"]).mkdir()
            (Path(flags["outdir"]) / "grid.mp4").write_bytes(b"film")
        return status


class Scorer:
    """Gives every snapshot scores that follow from its file, and keeps which were asked for."""

    def __init__(self) -> None:
        self.given: list[tuple[str, list[str]]] = []

    def __call__(self, snapshot: Trained, scoring: Scoring) -> None:
        number, seed = map(int, snapshot.path.read_text().split())
        missing = scoring.missing(snapshot)
        self.given.append((snapshot.path.stem[-10:], missing))
        for metric in missing:
            line = {"metric": metric, "value": 10 - 4 * number + seed, "details": {"procedural": 5.0, "x": None}}
            json_lines.append(scores_file(snapshot), [json.dumps({**line, "study": scoring.conditions(snapshot)})])


def test_what_is_done_is_not_done_again(tmp_path):
    run, commands, scorer = run_in(tmp_path, ["--gamma=2"]), Commands(), Scorer()
    assert not study_runs.is_done(run, study_in(tmp_path))
    assert study_runs.work(run, study_in(tmp_path), call=commands, score=scorer) is None
    training, filming = commands.given
    assert training[:2] == ["train.py", f"--outdir={run.place / 'runs'}"] and training[-2:] == ["--cmax=8", "--gamma=2"]
    assert (
        "--precision=bf16" in training
        and "--seed=0" in training
        and "--kimg=0.016" in training
        and filming[0] == "gen_videos.py"
    )
    assert study_runs.is_done(run, study_in(tmp_path)) and study_runs.seconds_per_kimg(run) == 80
    curve = study_runs.curve(run, study_in(tmp_path).scoring)
    assert [(kimg, scores["fvd4_16f"].value) for kimg, scores in curve] == [(0.008, 10), (0.016, 6)]
    assert curve[0][1]["diversity4"].target == 5

    more = study_in(tmp_path, ["fvd4_16f", "diversity4", "we4"])
    assert not study_runs.is_done(run, more)
    scorer.given.clear()
    assert study_runs.work(run, more, call=commands, score=scorer) is None
    assert len(commands.given) == 2, "neither trained nor filmed again"
    assert scorer.given == [("000000.008", ["we4"]), ("000000.016", ["we4"])], "only what was not known"


def test_a_row_moves_the_generator_of_another_of_the_same_seed(tmp_path):
    rows = tmp_path / "rows"
    moved, moving = (Run(row=ROWS[name], seed=1, place=rows / name / "seed1") for name in ("eg3d", "eg3d-mcghd"))
    commands = Commands()
    reason = study_runs.work(moving, study_in(tmp_path), call=commands, score=Scorer())
    assert reason.startswith("It moves the generator of eg3d, which is not trained yet") and not commands.given
    assert study_runs.work(moved, study_in(tmp_path), call=commands, score=Scorer()) is None
    assert study_runs.work(moving, study_in(tmp_path), call=commands, score=Scorer()) is None
    last = commands.given[-1]
    assert last[-2:] == ["--method=eg3d-mcghd", f"--generator={study_runs.trained(moved)[-1].path}"]
    assert not any(word.startswith("--swap-fade") for word in last), "it swaps no cameras"
    assert not any(word.startswith("--generator") for word in commands.given[0])


def test_scores_of_another_snapshot_test_set_or_code_do_not_count(tmp_path):
    run, scoring = run_in(tmp_path), study_in(tmp_path).scoring
    study_runs.work(run, study_in(tmp_path), call=Commands(), score=Scorer())
    snapshot = study_runs.trained(run)[0]
    assert scoring.missing(snapshot) == []
    for name, value in {"fingerprint": "x", "detector": "public", "code": "x"}.items():
        other = Scoring(**{**vars(scoring), name: value})
        assert other.missing(snapshot) == ["fvd4_16f", "diversity4"]
    replaced = Trained(kimg=1, path=snapshot.path, sha256="x")
    assert scoring.missing(replaced) == ["fvd4_16f", "diversity4"]


def test_a_failure_is_told_and_tried_again(tmp_path):
    run = run_in(tmp_path, seed=1)
    reason = study_runs.work(run, study_in(tmp_path), call=Commands(2), score=Scorer())
    assert reason is not None and reason.startswith("train.py ended with status 2: Error: <b>too</b> hot (")
    assert not study_runs.is_done(run, study_in(tmp_path))
    commands = Commands()
    assert study_runs.work(run, study_in(tmp_path), call=commands, score=Scorer()) is None
    assert [command[0] for command in commands.given] == ["train.py"], "the first seed alone is filmed"

    def divides_by_zero(snapshot: Trained, scoring: Scoring) -> None:
        raise ZeroDivisionError("by zero")

    reason = study_runs.work(run, study_in(tmp_path), call=commands, score=divides_by_zero)
    assert reason == "ZeroDivisionError: by zero"


def test_a_stopped_training_is_no_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study_runs.work(run_in(tmp_path), study_in(tmp_path), call=Commands(130), score=Scorer())


def test_too_few_snapshots_are_a_failure(tmp_path):
    commands = Commands(snapshots=["000000.016"])
    reason = study_runs.work(run_in(tmp_path), study_in(tmp_path), call=commands, score=Scorer())
    assert reason is not None and "wrote 1 snapshots, not 2" in reason


def test_snapshots_of_interruptions_do_not_count(tmp_path):
    """A run that is stopped writes one wherever it is."""
    commands = Commands(snapshots=["000000.004", "000000.008", "000000.012", "000000.016"])
    assert study_runs.work(run_in(tmp_path), study_in(tmp_path), call=commands, score=Scorer()) is None
    names = [snapshot.path.stem[-10:] for snapshot in study_runs.trained(run_in(tmp_path))]
    assert names == ["000000.008", "000000.016"]


def test_a_command_leaves_its_log_and_status(tmp_path):
    (tmp_path / "a.py").write_text("import sys; print('said', sys.argv[1]); sys.exit(3)")
    assert study_runs.call(tmp_path, ["a.py", "it"], tmp_path / "log.txt") == 3
    assert (tmp_path / "log.txt").read_text() == "$ python a.py it\nsaid it\n"


# --- What is refused --------------------------------------------------------------------------------------------------


def test_studies_with_other_settings_are_not_mixed(tmp_path):
    study_runs.keep_settings(tmp_path, settings())
    study_runs.keep_settings(tmp_path, settings())
    with pytest.raises(UserError, match=r"another --kimg \(0.016, now 8\)"):
        study_runs.keep_settings(tmp_path, settings(kimg=8))
    with pytest.raises(UserError, match=r"another --options \(--cmax=8, now none\)"):
        study_runs.keep_settings(tmp_path, settings(options=()))
    with pytest.raises(UserError, match=r"another --precision \(bf16, now fp32\)"):
        study_runs.keep_settings(tmp_path, settings(precision="fp32"))
    with pytest.raises(UserError, match=r"another --gpus \(cpu, now cuda\)"):
        study_runs.keep_settings(tmp_path, settings(device="cuda"))


def test_runs_with_other_options_data_or_code_are_not_mixed(tmp_path, monkeypatch):
    study_runs.keep_record(run_in(tmp_path), study_in(tmp_path), "code")
    monkeypatch.setattr(study_runs, "commit_of", lambda checkout: "newer")
    study_runs.keep_record(run_in(tmp_path), study_in(tmp_path), "code")  # a commit of other files matters to nobody
    with pytest.raises(UserError, match=r"mine, seed 0 was trained with another row options \(none, now --gamma=2\)"):
        study_runs.keep_record(run_in(tmp_path, ["--gamma=2"]), study_in(tmp_path), "code")
    with pytest.raises(UserError, match=r"other training code \(commit .*, now newer\)"):
        study_runs.keep_record(run_in(tmp_path), study_in(tmp_path), "other")
    with pytest.raises(UserError, match="another data"):
        study_runs.keep_record(run_in(tmp_path), with_data(tmp_path, train="x"), "code")
    study_runs.keep_record(run_in(tmp_path, ["--gamma=2"], seed=1), study_in(tmp_path), "other")


def test_a_row_trains_on_its_own_datasets_and_knows_them(tmp_path):
    row = ROWS["few-clips-stills"]
    run, commands = Run(row=row, seed=1, place=tmp_path / "run"), Commands()
    study_runs.keep_record(run, study_in(tmp_path), "code")
    assert study_runs.work(run, study_in(tmp_path), call=commands, score=Scorer()) is None
    (training,) = commands.given
    expected = [f"--data={tmp_path / 'few.zip'}", f"--image-data={tmp_path / 'stills.zip'}", "--image-share=0.5"]
    assert [option for option in training if option.startswith(("--data", "--image"))] == expected
    study_runs.keep_record(run, with_data(tmp_path, train="x"), "code")  # which it does not see
    for name, said in {"few": "another data", "stills": "another image data"}.items():
        with pytest.raises(UserError, match=rf"{said} \(of {name}, now x\)"):
            study_runs.keep_record(run, with_data(tmp_path, **{name: "x"}), "code")


def test_code_is_known_by_its_sources(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "train.py").write_text("a")
    first = study_runs.code_of(tmp_path)
    (tmp_path / "README.md").write_text("a")
    (tmp_path / "training" / "notes.txt").write_text("a")
    assert study_runs.code_of(tmp_path) == first
    (tmp_path / "training" / "loss.py").write_text("a")
    second = study_runs.code_of(tmp_path)
    (tmp_path / "training" / "loss.py").rename(tmp_path / "training" / "lost.py")
    assert len({first, second, study_runs.code_of(tmp_path)}) == 3


def test_workers(monkeypatch):
    assert study.workers(3, 0) == ["", "", ""]
    monkeypatch.setattr(study.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert study.workers(None, 2) == ["5", "7"] and study.workers(None, 1) == ["5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert study.workers(None, 2) == ["0", "1"]
    with pytest.raises(UserError, match="there are 2 here"):
        study.workers(None, 3)
    with pytest.raises(UserError, match="leave one of them out"):
        study.workers(1, 1)

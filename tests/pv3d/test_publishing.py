"""`checkpoint_tool.py publish`: weights to the bit, a card that says what is known and marks what is not, mistakes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import checkpoint_tool
import gen_videos
import pv3d
from dnnlib.files import file_checksum
from pv3d.model_card import GAP, UNKNOWN_LICENSE
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator, open_snapshot

pytest.importorskip("safetensors")
WHOLE = ("--license=mit", "--trained-on=Three procedural heads.", "--cannot=Look beyond 26 degrees.")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(checkpoint_tool.main, ["publish", *map(str, args)], catch_exceptions=False)


def refused(*args: str | Path) -> str:
    done = run(*args)
    assert done.exit_code == 2, done.output
    return done.stderr.strip().splitlines()[-1]


def score_line(checksum: str, metric: str, value: float, **more: object) -> str:
    source = {"source": "generator", "snapshot": f"{checksum} torch.float32"}
    return json.dumps({"metric": metric, "value": value, "samples": 2, "source": source, **more})


@pytest.fixture
def published(snapshot, tmp_path) -> Path:
    done = run(snapshot, f"--outdir={tmp_path / 'heads'}", *WHOLE)
    assert done.exit_code == 0, done.output
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'heads'}\n", "")
    return tmp_path / "heads"


def front_matter(card: str) -> dict[str, str | list[str]]:
    """Return the fields before the page; only plain values and lists of them are understood."""
    start, text, _ = card.split("---\n", 2)
    assert start == ""
    fields: dict[str, str | list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("  - "):
            items = fields[name]
            assert isinstance(items, list)
            items.append(line[4:])
        else:
            name, colon, value = line.partition(":")
            assert colon and name.isidentifier() and not set(value) & set("#&*!|>{}[]'\"%@`"), line
            fields[name] = value.strip() or []
    return fields


# --- Weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", "model.safetensors"])
def test_weights_come_back_to_the_bit(published, snapshot, part):
    found = pv3d.load(published / part, device="cpu").G.state_dict()
    wanted = pv3d.load(snapshot, device="cpu").G.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert value.dtype == found[name].dtype
        assert torch.equal(value.flatten().view(torch.uint8), found[name].flatten().view(torch.uint8)), name


def test_all_of_the_snapshot_comes_back(published, snapshot):
    payload = open_snapshot(published / "model.safetensors").payload()
    wanted = checkpoint.load(snapshot, "snapshot")
    assert payload["config"] == wanted["config"] and payload["progress"] == wanted["progress"]
    assert torch.equal(payload["camera_bank"], wanted["camera_bank"])
    assert payload["weights"].keys() == wanted["weights"].keys()


def test_the_tensors_alone_are_a_snapshot(published, snapshot, tmp_path):
    """As downloaded, without the JSON file and under another name."""
    alone = tmp_path / "other.pkl"
    shutil.copy(published / "model.safetensors", alone)
    assert load_generator(alone).progress == {"kimg": 2.0}
    assert pv3d.load(alone, sha256=file_checksum(alone), device="cpu").G.z_dim == 8


def test_commands_take_the_folder(published, tmp_path):
    words = [f"--network={published}", f"--outdir={tmp_path / 'out'}", "--seeds=0", "--frames=1", "--device=cpu"]
    done = CliRunner().invoke(gen_videos.main, words)
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "out").glob("*.mp4"))


def test_checksums_are_those_of_sha256sum(published):
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=published, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines() == ["model.json: OK", "model.safetensors: OK"]


# --- The card ---------------------------------------------------------------------------------------------------------


def test_the_front_matter_is_what_hugging_face_reads(published):
    fields = front_matter((published / "README.md").read_text(encoding="utf-8"))
    tags = ["pv3d", "video-generation", "3d", "gan", "portrait", "synthetic-media"]
    assert fields == {
        "license": "mit",
        "library_name": "pv3d",
        "pipeline_tag": "unconditional-image-generation",
        "tags": tags,
    }


def test_the_card_says_what_is_known(published, snapshot):
    card = (published / "README.md").read_text(encoding="utf-8")
    for text in (
        "# heads\n",
        "On: Three procedural heads.",
        "\n2 thousand clips",
        "| `--plane-resolution` | 16 |",
        "| `generator.z_dim` | 8 |",
        "* Look beyond 26 degrees.",
        "synthetic media",
        "camera paths of 3 clips",
        file_checksum(published / "model.safetensors"),
    ):
        assert text in card, text
    assert GAP not in card and "## Scores" not in card and "--workers" not in card
    assert max(card.count(f"## {name}") for name in ("Load it", "Use", "Files")) == 1


def test_what_nobody_said_is_a_gap(snapshot, tmp_path):
    done = run(snapshot, f"--outdir={tmp_path / 'bare'}", "--name=Some heads")
    card = (tmp_path / "bare" / "README.md").read_text(encoding="utf-8")
    assert front_matter(card)["license"] == UNKNOWN_LICENSE and "# Some heads\n" in card
    assert card.count(GAP) == 3 and "has 3 gaps for you to fill in" in done.stderr


def test_scores_of_this_snapshot_are_shown_and_no_others(snapshot, tmp_path):
    own = file_checksum(snapshot)
    lines = [
        score_line(own, "fvd2_16f", 999.0),
        score_line("0" * 64, "cd2", 1.5),
        score_line(own, "fvd2_16f", 12.34567, standard_error=0.5, detector="random", warnings=["too few"]),
        "no JSON",
        json.dumps({"metric": "we2", "value": 3.0, "source": None}),
    ]
    (tmp_path / "scores.jsonl").write_text("\n".join(lines))
    done = run(snapshot, f"--outdir={tmp_path / 'a'}", *WHOLE, f"--scores={tmp_path / 'scores.jsonl'}")
    assert done.exit_code == 0, done.output
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "| `fvd2_16f` | 12.35 | 0.5 | 2 | random |" in card and "* `fvd2_16f`: too few" in card
    assert "| 999 |" not in card and "`cd2`" not in card and "`we2`" not in card
    assert f"`{snapshot.name}` (sha256 `{own}`)" in card


def test_a_preview_moves(snapshot, tmp_path):
    done = run(snapshot, f"--outdir={tmp_path / 'a'}", *WHOLE, "--preview=0-1")
    assert done.exit_code == 0, done.output
    Image = pytest.importorskip("PIL.Image")
    with Image.open(tmp_path / "a" / "preview.gif") as picture:
        assert picture.size == (64, 32) and picture.n_frames > 1
    assert "](preview.gif)" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "preview.gif" in (tmp_path / "a" / "SHA256SUMS").read_text(encoding="utf-8")


# --- Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option, sentence",
    [
        ("--license=MIT: see below", "is no name of a license"),
        ("--trained-on=a\nb", "--trained-on is empty or has more than one line"),
        ("--name= ", "--name is empty"),
        ("--preview=0-8", "--preview has 9 seeds: give 8 at most."),
        ("--scores={}/none.jsonl", "none.jsonl does not exist"),
        ("--scores={}/others.jsonl", "has scores of other snapshots alone (00000000), none of"),
        ("--scores={}/empty.jsonl", "has no scores, none of"),
    ],
)
def test_mistakes_leave_nothing(snapshot, tmp_path, option, sentence):
    (tmp_path / "others.jsonl").write_text(score_line("0" * 64, "cd2", 1.5))
    (tmp_path / "empty.jsonl").write_text("")
    before = sorted(tmp_path.iterdir())
    assert sentence in refused(snapshot, f"--outdir={tmp_path / 'a'}", option.format(tmp_path))
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_is_not_empty_stays(published, snapshot, tmp_path):
    before = {path: path.read_bytes() for path in published.iterdir()}
    assert "exists already" in refused(snapshot, f"--outdir={published}")
    assert {path: path.read_bytes() for path in published.iterdir()} == before
    (tmp_path / "empty").mkdir()
    assert run(snapshot, f"--outdir={tmp_path / 'empty'}").exit_code == 0


def test_what_is_no_snapshot_is_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"hello")
    assert "not a checkpoint" in refused(tmp_path / "a.pkl", f"--outdir={tmp_path / 'a'}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]


# --- Files that were changed ------------------------------------------------------------------------------------------


def test_a_json_file_that_says_otherwise_is_not_ignored(published):
    path = published / "model.json"
    header = json.loads(path.read_text())
    header["config"]["generator"]["rendering"]["depth_samples"] = 9
    path.write_text(json.dumps(header))
    with pytest.raises(pv3d.UserError, match="model.json says otherwise than .*model.safetensors itself"):
        pv3d.load(published)
    path.unlink()
    pv3d.load(published, device="cpu")


def test_tensors_that_say_nothing_of_themselves_are_refused(published, tmp_path):
    library = pytest.importorskip("safetensors.torch")
    tensors = library.load_file(published / "model.safetensors")
    library.save_file(tensors, tmp_path / "b.safetensors", metadata={"format": "pt"})
    with pytest.raises(pv3d.UserError, match="does not say what its tensors are: .*checkpoint_tool.py import"):
        pv3d.load(tmp_path / "b.safetensors")


def test_a_cut_file_is_refused(published, tmp_path):
    data = (published / "model.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(data[:-100])
    with pytest.raises(pv3d.UserError, match="damaged or was cut short"):
        pv3d.load(tmp_path / "b.safetensors")


def test_reading_needs_no_library(published, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    pv3d.load(published, device="cpu")

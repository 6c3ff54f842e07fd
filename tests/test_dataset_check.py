"""dataset_tool.py check: names everything that is broken, accepts what is not."""

import json
import re
import unicodedata
import zipfile

import numpy as np
import pytest

from tests.helpers.dataset_command import black_png, done, run, synth
from training.cameras import canonical_label
from training.data.frames import encode_png
from training.data.writer import ClipRecord, write_dataset


def test_check_names_every_broken_thing_at_once(tmp_path):
    folder = tmp_path / "clips"
    with write_dataset(folder) as writer:
        for name, length in (("a", 20), ("b", 16), ("short", 15)):
            pictures = [np.full([3, 16, 16], index, np.uint8) for index in range(length)]
            frames = [(f"{index:05d}.png", encode_png(picture)) for index, picture in enumerate(pictures)]
            cameras = canonical_label().repeat(length, 1).numpy()
            writer.add(ClipRecord(name=name, frames=frames, cameras=cameras, fps=25.0))
    good = done("check", folder, "--workers", 1)
    assert re.findall("^(?:broken|note): .*", good, re.MULTILINE) == [
        "note: short: 15-frame clip, shorter than the 16-frame window: it ends at time 14/15"
    ]

    (folder / "a" / "00000.png").unlink()
    (folder / "a" / "00001.png").write_bytes(black_png(16)[:60])
    (folder / "a" / "00002.png").write_bytes(black_png(8))
    (folder / "b" / "stray.png").write_bytes(black_png(16))
    (folder / "notes.txt").write_text("x")
    index = json.loads((folder / "dataset.json").read_text())
    labels = dict(index["labels"])
    labels["a/00003.png"] = None
    labels["a/00004.png"][5] = float("nan")
    labels["a/00005.png"][0] = -1.0
    labels["a/00006.png"][1] = 0.3
    labels["a/00007.png"][11] = 5.0
    labels["a/00008.png"] = labels["a/00008.png"][:16]
    labels["a/00009.png"][16] = 0.0
    labels["a/00010.png"][15] = 2.0
    labels["../x.png"] = labels["a/00011.png"]
    index["clips"]["empty"] = {"fps": 25}
    index["clips"]["b"] = {}
    index["labels"] = list(labels.items())
    (folder / "dataset.json").write_text(json.dumps(index))

    result = run("check", folder, "--workers", 2)
    expected = {
        "a/00000.png": "missing frame",
        "a/00001.png": "unreadable or truncated",
        "a/00002.png": "wrong size 8 x 8",
        "b/stray.png": "missing camera",
        "a/00003.png": "missing camera",
        "a/00004.png": "non-finite",
        "a/00005.png": "not a rotation",
        "a/00006.png": "not a rotation",
        "a/00007.png": "5.000 from the origin",
        "a/00008.png": "not 25 numbers",
        "a/00009.png": "intrinsics",
        "a/00010.png": "last row",
        "../x.png": "unsafe path",
        "empty": "without frames",
        "b": "frame rate",
    }
    lines = re.findall("broken: .*", result.output)
    for where, what in expected.items():
        about = [line for line in lines if line.startswith(f"broken: {where}: ")]
        assert what in "\n".join(about), (where, lines)
    assert result.exit_code == 1
    assert "note: notes.txt: unlisted file" in result.output
    assert len(lines) == len(expected)
    assert f"{len(lines)} problems" in result.output


def test_check_accepts_zips_and_image_datasets(tmp_path):
    synth(tmp_path / "heads")
    path = tmp_path / "heads" / "dataset.json"
    index = json.loads(path.read_text())
    del index["clips"]
    path.write_text(json.dumps(index))
    said = done("check", tmp_path / "heads", "--workers", 1)
    assert "32 clips, 32 frames" in said
    assert "note: dataset.json: no clips are described" in said
    synth(tmp_path / "heads.zip")
    done("check", tmp_path / "heads.zip", "--workers", 1)


@pytest.mark.parametrize(
    ("kept", "uneven"), [(range(24), False), (range(0, 24, 2), False), ([*range(9), *range(11, 24)], True)]
)
def test_check_notes_frames_that_are_left_out_in_the_middle(tmp_path, kept, uneven):
    synth(tmp_path / "heads", "--frames", 24)
    path = tmp_path / "heads" / "dataset.json"
    index = json.loads(path.read_text())
    wanted = {f"00000/{number:05d}.png" for number in kept}
    index["labels"] = [[name, label] for name, label in index["labels"] if name in wanted or name.startswith("00001")]
    path.write_text(json.dumps(index))
    said = run("check", tmp_path / "heads", "--workers", 1).output
    assert ("note: 00000: the numbers of its frames have uneven steps" in said) == uneven
    assert "note: 00001" not in said


def test_check_notes_frames_whose_names_do_more_than_number_them(tmp_path):
    synth(tmp_path / "heads")
    path = tmp_path / "heads" / "dataset.json"
    index = json.loads(path.read_text())
    for entry in index["labels"][:16]:
        time = f"00000/{int(entry[0][6:11]) / 20:g}.png"
        (tmp_path / "heads" / entry[0]).rename(tmp_path / "heads" / time)
        entry[0] = time
    path.write_text(json.dumps(index))
    said = done("check", tmp_path / "heads", "--workers", 1)
    assert "note: 00000: the names of its frames do more than number them, see whether 0.1.png, 0.2.png, " in said
    assert "note: 00001" not in said


def test_check_finds_two_spellings_of_one_name(tmp_path):
    synth(tmp_path / "heads")
    for form in ("NFC", "NFD"):
        (tmp_path / "heads" / unicodedata.normalize(form, "Zoë.txt")).touch()
    assert "broken: Zoë.txt: there twice" in run("check", tmp_path / "heads", "--workers", 1).output


def test_check_finds_flipped_bytes_in_a_zip(tmp_path):
    path = tmp_path / "heads.zip"
    synth(path)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("00001/00005.png").header_offset + 200
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)
    result = run("check", path, "--workers", 1)
    assert result.exit_code == 1
    assert result.output.count("broken:") == 1 and "broken: 00001/00005.png" in result.output


@pytest.mark.parametrize(
    "name, word", [("absent", "does not exist"), ("bad.zip", "not a whole zip"), ("", "no dataset.json")]
)
def test_check_says_when_there_is_no_dataset(tmp_path, name, word):
    (tmp_path / "bad.zip").write_bytes(b"PK")
    result = run("check", tmp_path / name)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert word in line

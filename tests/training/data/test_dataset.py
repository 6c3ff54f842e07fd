"""training.data.dataset: what is on disk comes out right, mistakes are named."""

import io
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from tests.helpers import noise
from tests.helpers.noise import SIZE, edit_index, make, noise_clip
from training.data.dataset import ClipDataset
from training.data.frames import decode_depth, decode_frame, encode_depth
from training.data.writer import write_dataset


def test_folder_and_zip_hold_the_same(clips, tmp_path):
    one, two = ClipDataset(clips), ClipDataset(make(tmp_path / "clips.zip"))
    assert one.num_clips == two.num_clips == 3 and one.num_frames == 66 and one.resolution == SIZE
    assert one.fingerprint() == two.fingerprint() != ClipDataset(make(tmp_path / "other", seed=1)).fingerprint()
    clip = one.clips[1]
    assert (clip.name, clip.fps, clip.identity, len(clip.frames)) == ("00001", 30.0, "person 1", 16)
    assert clip.frames[3] == "00001/00003.png" and clip.cameras.shape == (16, 25) and clip.cameras.dtype == np.float32
    expected = decode_frame(noise_clip(1, 16).frames[3][1])
    for dataset in (one, two, pickle.loads(pickle.dumps(two))):
        assert np.array_equal(dataset.read_frame(1, 3), expected)
    assert np.allclose(clip.cameras, noise_clip(1, 16).cameras)
    with zipfile.ZipFile(tmp_path / "clips.zip") as archive:
        assert all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())


@pytest.mark.parametrize("as_object", [False, True])
def test_an_image_dataset_opens_as_clips_of_one_frame(folder, as_object):
    def only_labels(index):
        del index["clips"]
        if as_object:
            index["labels"] = dict(index["labels"])

    edit_index(folder, only_labels)
    dataset = ClipDataset(folder)
    assert dataset.num_clips == dataset.num_frames == 66
    assert len({clip.name for clip in dataset.clips}) == 66 and dataset.clips[5].frames == (dataset.clips[5].name,)


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_names_with_numbers_are_in_the_order_of_the_numbers(tmp_path, suffix):
    """Clips 0 to 11 of frames 0 to 11, names without leading zeros; a frame's first pixel is its number."""
    with write_dataset(tmp_path / f"clips{suffix}") as writer:
        for index in range(12):
            clip = noise_clip(index, 12)
            frames = [(f"{number}.png", data) for number, (_, data) in enumerate(clip.frames)]
            writer.add(replace(clip, name=str(index), frames=frames))
    dataset = ClipDataset(tmp_path / f"clips{suffix}")
    assert [clip.name for clip in dataset.clips] == [str(index) for index in range(12)]
    assert [dataset.read_frame(3, number)[0, 0, 0] for number in range(12)] == list(range(12))
    assert np.allclose(dataset.clips[3].cameras, noise_clip(3, 12).cameras)


def test_names_with_zeros_keep_the_order_of_their_text(clips):
    dataset = ClipDataset(clips)
    names = [clip.name for clip in dataset.clips]
    assert names == sorted(names)
    assert all(list(clip.frames) == sorted(clip.frames) for clip in dataset.clips)


def test_clips_without_description_are_said_to_be_stills(folder):
    assert ClipDataset(folder).notes == []
    edit_index(folder, lambda index: index.pop("clips"))
    (note,) = ClipDataset(folder).notes
    assert "each of 66 frames is a still picture" in note and "3 folders" in note and '"clips": {}' in note
    edit_index(folder, lambda index: index.update(clips={}))
    assert ClipDataset(folder).notes == [] and ClipDataset(folder).num_clips == 3, "the cure is true"


def test_clips_whose_names_do_more_than_number_frames_are_named(folder):
    for name, renamed in (("00002", "0.5"), ("00003", "0.25")):
        (folder / "00001" / f"{name}.png").rename(folder / "00001" / f"{renamed}.png")
        edit_index(folder, lambda index, old=f"00001/{name}.", new=f"00001/{renamed}.": rename_frames(index, old, new))
    (note,) = ClipDataset(folder).notes
    assert "in order in 1 clips" in note and "00001 is read as 0.5.png, 0.25.png, 00000.png, 00001.png" in note


def rename_frames(index, old, new):
    for entry in index["labels"]:
        entry[0] = entry[0].replace(old, new)


def test_a_frame_has_one_camera(folder):
    edit_index(folder, lambda index: index["labels"].append(["./00001/00003.png", index["labels"][0][1]]))
    with pytest.raises(UserError, match="two cameras of frame 00001/00003.png"):
        ClipDataset(folder)


@pytest.mark.parametrize("rename", [lambda name: name.replace("/", "-"), lambda name: name.replace("00001.", "90001.")])
def test_stills_are_not_said_to_look_like_clips(folder, rename):
    def change(index):
        del index["clips"]
        index["labels"] = [[rename(name), label] for name, label in index["labels"]]

    edit_index(folder, change)
    for frame in [*folder.glob("*/*.png")]:
        target = folder / rename(frame.relative_to(folder).as_posix())
        frame.rename(target)
    assert ClipDataset(folder).notes == []


def test_jpeg_grey_and_alpha_frames_become_rgb(folder):
    picture = PIL.Image.fromarray(np.full([SIZE, SIZE, 3], (200, 100, 50), np.uint8))
    kinds = [(picture, "jpeg"), (picture.convert("L"), "png"), (picture.convert("RGBA"), "png")]
    for number, (image, kind) in enumerate(kinds):
        image.save(folder / "00000" / f"{number:05d}.png", format=kind)
    dataset = ClipDataset(folder)
    assert np.abs(dataset.read_frame(0, 0).mean(axis=(1, 2)) - (200, 100, 50)).max() < 4
    assert np.ptp(dataset.read_frame(0, 1), axis=0).max() == 0
    assert (dataset.read_frame(0, 2).mean(axis=(1, 2)) == (200, 100, 50)).all()


def test_a_larger_dataset_shrinks_by_whole_factors(clips):
    full, half = ClipDataset(clips), ClipDataset(clips, resolution=8)
    expected = full.read_frame(0, 2).reshape(3, 8, 2, 8, 2).mean(axis=(2, 4))
    assert half.read_frame(0, 2).shape == (3, 8, 8) and np.abs(half.read_frame(0, 2) - expected).max() <= 0.5
    assert half.fingerprint() != full.fingerprint()
    for wrong in (32, 12):
        with pytest.raises(UserError, match=f"--resolution={wrong}"):
            ClipDataset(clips, resolution=wrong)


@pytest.mark.parametrize("fps", [0, -25, 0.001, 1200, 10**400, float("inf"), float("nan"), "30", [30], None])
def test_impossible_frame_rates_count_as_unknown(folder, fps):
    edit_index(folder, lambda index: index["clips"]["00000"].update(fps=fps))
    assert [clip.fps for clip in ClipDataset(folder).clips] == [25.0, 30.0, 30.0]


def test_an_identity_is_a_text_or_a_number(folder):
    for given, read in (("Zoë", "Zoë"), (7, "7"), ([["deep"]], None), ({}, None)):
        edit_index(folder, lambda index, given=given: index["clips"]["00000"].update(identity=given))
        assert ClipDataset(folder).clips[0].identity == read


def test_depth_survives_storage(folder):
    depth = np.random.default_rng(0).uniform(2.25, 3.3, [SIZE, SIZE]).astype(np.float32)
    assert np.abs(decode_depth(encode_depth(depth)) - depth).max() < 2e-5
    (folder / "00000" / "00004.depth.png").write_bytes(encode_depth(depth))
    assert np.abs(ClipDataset(folder).read_depth(0, 4) - depth).max() < 2e-5
    with pytest.raises(UserError, match="00005.depth.png"):
        ClipDataset(folder).read_depth(0, 5)


@pytest.mark.parametrize("damage", noise.DAMAGES)
def test_a_broken_first_frame_is_named(folder, damage):
    damage(folder)
    with pytest.raises(UserError, match=r"00000/00000\.png") as error:
        ClipDataset(folder)
    assert "\n" not in str(error.value)


def label(value):
    return lambda index: index["labels"][0].__setitem__(1, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(labels=None), "no cameras"),
        (lambda index: index.update(labels=[]), "no cameras"),
        (lambda index: index.pop("labels"), "no cameras"),
        (lambda index: index.update(labels=["00000/00000.png"]), "list of"),
        (lambda index: index.update(clips=[]), "must be an object"),
        (label(None), "00000/00000.png"),
        (label([0.0] * 24), "00000/00000.png"),
        (label([float("nan")] * 25), "00000/00000.png"),
        (label(["x"] * 25), "00000/00000.png"),
        (lambda index: index["labels"][0].__setitem__(0, "../secret.png"), "unsafe"),
        (lambda index: index["labels"][0].__setitem__(0, "/etc/passwd"), "unsafe"),
    ],
)
def test_a_bad_index_is_named(folder, change, message):
    edit_index(folder, change)
    with pytest.raises(UserError, match=message) as error:
        ClipDataset(folder)
    assert "\n" not in str(error.value)


def test_what_is_no_dataset_is_named(clips, tmp_path):
    whole = make(tmp_path / "whole.zip").read_bytes()
    (tmp_path / "truncated.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "dataset.json").write_text('{"labels": [')
    broken_zip = "not a whole zip"
    for name, message in {
        "absent": "does not exist",
        "absent.zip": "does not exist",
        "truncated.zip": broken_zip,
        "empty.zip": broken_zip,
        "text.txt": "neither",
        "empty": "no dataset.json",
        "json": "unreadable",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            ClipDataset(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["/absolute.png", "../up.png", "a/../../up.png", "C:\\drive.png"])
def test_zips_with_tricks_in_their_paths_are_refused(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"")
    (tmp_path / "trick.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="unsafe path"):
        ClipDataset(tmp_path / "trick.zip")

"""One pass over a video finds its people, follows them, and parts them at cuts."""

import numpy as np
import PIL.Image
import pytest

from detectors.face_landmarks import FaceRegion
from detectors.face_parts import face_parts
from dnnlib.video import write_video
from preprocessing import alignment
from preprocessing.frames import plan_reading, read_source
from preprocessing.options import CameraOptions
from preprocessing.records import RIGHT_EYE, SourceVideo
from preprocessing.scan import load_scan, save_scan, scan_video
from preprocessing.shots import CutFinder
from preprocessing.smoothing import low_pass
from preprocessing.tracking import FaceTracker, box_of
from tests.preprocessing.conftest import FPS, FRAMES, paste, similarity
from training.synthetic import render_clip


class DotParts:
    """A detector of bright dots: landmarks are spread about the brightest pixel of a region. Counts its looks."""

    name = "dots"
    licences: tuple[str, ...] = ()
    least_presence = 0.5
    SPREAD = np.random.default_rng(0).uniform(-8, 8, size=[68, 2]).astype(np.float32)

    def __init__(self) -> None:
        self.detections = 0
        self.blind = False

    def detect(self, image):
        self.detections += 1
        rows, columns = np.nonzero(image[:, :, 0] == 255)
        return [] if self.blind else [FaceRegion(float(x), float(y), 20) for y, x in zip(rows, columns, strict=True)]

    def landmarks(self, image, region):
        left, top = max(int(region.x) - 10, 0), max(int(region.y) - 10, 0)
        part = image[top : int(region.y) + 11, left : int(region.x) + 11, 0]
        y, x = np.unravel_index(np.argmax(part), part.shape)
        return self.SPREAD + np.float32([x + left, y + top]), float(part.max() == 255)

    def region_of(self, landmarks):
        x, y = (landmarks - self.SPREAD).mean(axis=0)
        return FaceRegion(float(x), float(y), 20)


def dots(*places: tuple[int, int]) -> np.ndarray:
    """Return a picture with dots at (x, y)."""
    image = np.zeros([100, 200, 3], dtype=np.uint8)
    for x, y in places:
        image[y, x] = 255
    return image


def track(images: list[np.ndarray], every: int, parts: DotParts | None = None):
    """Follow the dots of pictures; return the tracks."""
    tracker = FaceTracker(parts or DotParts())
    for number, image in enumerate(images):
        tracker.follow(image)
        if number % every == 0 or number == len(images) - 1:
            tracker.detect(number, image)
    tracker.end_all()
    return tracker.tracks


def test_dots_are_followed_between_detections():
    images = [dots((20 + 3 * number, 50), (150, 30 + 2 * number)) for number in range(11)]
    one, other = sorted(track(images, every=5), key=lambda found: found.boxes[0, 0])
    for found, x, y in (
        (one, 20 + 3 * np.arange(11), np.full(11, 50)),
        (other, np.full(11, 150), 30 + 2 * np.arange(11)),
    ):
        middle = (found.landmarks - DotParts.SPREAD).mean(axis=1)
        np.testing.assert_allclose(middle, np.stack([x, y], axis=1), atol=1e-3)
        assert found.found.all() and found.first == 0


def test_what_was_followed_but_not_confirmed_does_not_count():
    images = [dots((50, 50))] * 8 + [dots()] * 20
    (found,) = track(images, every=5)
    assert (found.first, len(found.found)) == (0, 6)  # detected in frames 0 and 5


def test_a_face_that_the_detector_overlooks_for_a_while_goes_on():
    parts = DotParts()
    tracker = FaceTracker(parts)
    for number in range(21):
        parts.blind = number in (5, 10)
        tracker.follow(dots((50, 50)))
        if number % 5 == 0:
            tracker.detect(number, dots((50, 50)))
    tracker.end_all()
    (found,) = tracker.tracks
    assert len(found.found) == 21 and found.found.all()


def test_faces_that_meet_are_parted():
    apart = [dots((60 + 3 * number, 50), (140 - 3 * number, 50)) for number in range(11)]
    tracks = track(apart, every=1)
    assert len(tracks) >= 2
    assert all(np.ptp((found.landmarks - DotParts.SPREAD).mean(axis=(1, 2))) < 40 for found in tracks)


def test_hard_cuts_alone_are_cuts(pasted):
    finder = CutFinder()
    frames = [*pasted, *pasted[:, :, ::-1], *np.clip(pasted.astype(int) + 60, 0, 255).astype(np.uint8)[:, ::-1]]
    cuts = [number for number, frame in enumerate(frames) if finder.is_cut(frame)]
    assert cuts == [FRAMES, 2 * FRAMES]


@pytest.mark.parametrize("kind", ["dlib", "mesh"])
def test_two_people_are_two_tracks(conversation, kind):
    video = SourceVideo(name="two", path=conversation / "two people.mp4")
    scan = scan_video(video, plan_reading(video, None), face_parts(kind), detect_every=5)
    assert (scan.frames, scan.fps, scan.cuts, scan.detections) == (FRAMES, FPS, (), 5)
    assert [len(found.found) for found in scan.tracks] == [FRAMES, FRAMES]
    left, right = (found.landmarks[:, RIGHT_EYE, 0].mean() for found in scan.tracks)
    assert left < 310 < right


@pytest.mark.parametrize("kind", ["dlib", "mesh"])
def test_a_crop_keeps_a_moving_rolling_growing_face_in_place(kind):
    """Eyes and mouth of a face that does nothing else stay within 1.5 pixels rms at 512."""
    still = render_clip(0, 448, 1, FPS).frames[0].transpose(1, 2, 0)
    parts = face_parts(kind)
    maps, found = [], []
    for phase in np.linspace(0, 1, 25):
        frame = np.full([640, 800, 3], 90, dtype=np.uint8)
        place = similarity(0.8 + 0.4 * phase, 0.3 * np.sin(5 * phase), 380 + 60 * phase, 320, side=448)
        paste(frame, still, place)
        region = parts.detect(frame)[0] if not found else parts.region_of(found[-1])
        found.append(parts.landmarks(frame, region)[0])
        maps.append(place)
    smooth = low_pass(np.stack(found), np.ones(25, dtype=bool), CameraOptions().smooth_landmarks * FPS)
    to_crop = alignment.align(smooth, 512)
    in_place = alignment.apply(alignment.invert(np.stack(maps)), smooth).mean(axis=0)  # on the still face
    seen = alignment.apply(alignment.compose(to_crop, np.stack(maps)), np.broadcast_to(in_place, smooth.shape))
    points = seen[:, [*range(36, 48), *range(48, 68)]]
    assert np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=2).mean()) < 1.5


def test_scans_are_kept_whole(conversation, tmp_path):
    video = SourceVideo(name="two", path=conversation / "two people.mp4")
    scan = scan_video(video, plan_reading(video, None), face_parts("dlib"), detect_every=10)
    save_scan(tmp_path / "scan.npz", scan)
    again = load_scan(tmp_path / "scan.npz")
    for name in ("frames", "fps", "width", "height", "cuts", "detections", "notes"):
        assert getattr(again, name) == getattr(scan, name)
    for one, other in zip(again.tracks, scan.tracks, strict=True):
        for name, value in vars(other).items():
            np.testing.assert_array_equal(getattr(one, name), value)


def test_a_broken_video_counts_up_to_where_it_breaks(conversation, tmp_path):
    data = (conversation / "two people.mp4").read_bytes()
    where = data.index(b"mdat")
    broken = bytearray(data)
    start = where + (len(data) - where) // 2
    broken[start : start + 4000] = bytes(4000)
    path = tmp_path / "broken.mp4"
    path.write_bytes(bytes(broken))
    video = SourceVideo(name="broken", path=path)
    scan = scan_video(video, plan_reading(video, None), face_parts("mesh"), detect_every=5)
    assert 0 < scan.frames < FRAMES
    assert any("Cannot read the video" in note for note in scan.notes)


def test_boxes():
    np.testing.assert_array_equal(box_of(np.array([[1.0, 5.0], [3.0, 2.0]])), [1, 2, 3, 5])


def test_uneven_videos_are_resampled(tmp_path, pasted):
    path = tmp_path / "even.mp4"
    write_video(path, pasted, 25.0)
    even = plan_reading(SourceVideo(name="even", path=path), None)
    assert (even.resample, even.fps, even.notes) == (False, 25.0, ())
    asked = plan_reading(SourceVideo(name="even", path=path), 12.5)
    frames = list(read_source(SourceVideo(name="even", path=path), asked))
    assert len(frames) == FRAMES / 2


def test_a_picture_is_one_frame(tmp_path, pasted):
    path = tmp_path / "one.png"
    PIL.Image.fromarray(pasted[0]).save(path)
    video = SourceVideo(name="one", path=path)
    (frame,) = read_source(video, plan_reading(video, None))
    np.testing.assert_array_equal(frame, pasted[0])

"""Who is in which clip, whatever the order of the clips, and which clips of a person are taken."""

import numpy as np
import pytest

from preprocessing.identities import SAME_PERSON, ClipFace, choose, identify
from preprocessing.verification import (
    MAX_NOISY,
    NOISY_DISTANCE,
    Verification,
    distances_to_others,
    load_verification,
    save_verification,
)


def people(count: int, clips: int, spread: float, seed: int = 0) -> list[ClipFace]:
    """Return clips of people 0.6 apart, each within `spread` of its person."""
    random = np.random.default_rng(seed)
    found = []
    for person in range(count):
        middle = np.zeros(128)
        middle[person] = 0.6 / np.sqrt(2)
        for clip in range(clips):
            off = random.normal(size=128)
            found.append(face(f"{person}-{clip}", middle + spread * off / np.linalg.norm(off)))
    return found


def face(name: str, embedding: np.ndarray | None = None, speaker: str | None = None, quality: float = 0.0) -> ClipFace:
    return ClipFace(name=name, speaker=speaker, embedding=embedding, quality=(quality,))


def test_clips_of_a_person_are_found_together_in_any_order():
    clips = people(5, 4, SAME_PERSON / 3)
    found = identify(clips)
    assert found == {clip.name: f"{clip.name[0]}-0" for clip in clips}
    shuffled = [clips[place] for place in np.random.default_rng(1).permutation(len(clips))]
    assert identify(shuffled) == found


def test_speakers_come_before_faces():
    clips = [face("a", np.zeros(128), "Ann"), face("b", np.zeros(128), "Bob"), face("c", np.zeros(128)), face("d")]
    assert identify(clips) == {"a": "Ann", "b": "Bob", "c": "c", "d": "d"}


@pytest.mark.parametrize(("most", "taken"), [(0, {"a", "b", "c", "d"}), (1, {"b", "d"}), (2, {"a", "b", "d"})])
def test_the_best_clips_are_taken_then_the_first_by_name(most, taken):
    clips = [face("c", quality=1), face("a", quality=1), face("b", quality=2), face("d")]
    identities = {"a": "Ann", "b": "Ann", "c": "Ann", "d": "Dan"}
    assert choose(clips, identities, most) == taken
    assert choose(clips[::-1], identities, most) == taken


def test_one_stranger_is_noisy_and_does_not_make_others_so():
    random = np.random.default_rng(0)
    embeddings = random.normal(size=[9, 128]) * 0.01
    embeddings[4, 0] += 0.5
    distances = distances_to_others(embeddings)
    assert (distances > NOISY_DISTANCE).tolist() == [number == 4 for number in range(9)]
    assert distances_to_others(embeddings[:1]).tolist() == [0]


@pytest.mark.parametrize(("strangers", "is_left_out"), [(MAX_NOISY, False), (MAX_NOISY + 1, True)])
def test_more_than_two_noisy_frames_discard_a_clip(strangers, is_left_out, tmp_path):
    distances = np.full(20, 0.1)
    distances[:strangers] = NOISY_DISTANCE + 0.1
    found = Verification(
        frames=np.arange(20) * 2, distances=distances, found=np.ones(20, dtype=bool), embedding=np.zeros(128)
    )
    assert found.noisy.tolist() == [2 * number for number in range(strangers)]
    assert (found.fault is not None) == is_left_out
    save_verification(tmp_path / "verify.npz", found)
    assert load_verification(tmp_path / "verify.npz").fault == found.fault


def test_frames_without_a_face_are_noisy():
    nothing = np.zeros(4, dtype=bool)
    found = Verification(frames=np.arange(4), distances=np.zeros(4), found=nothing, embedding=np.zeros(128))
    assert found.fault == "no face in its crops"

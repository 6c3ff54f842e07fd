"""A stage's result is whole or absent, belongs to its key, and replaces older ones."""

import pytest

from preprocessing.stage_cache import StageCache, key_of


def fill(cache: StageCache, key: str, text: str) -> None:
    with cache.making("scan", key) as (folder, cost):
        (folder / "result").write_text(text)
        cost.frames = len(text)


def test_results_are_found_by_their_keys_alone(tmp_path):
    cache = StageCache(tmp_path, "a/b")
    assert cache.find("scan", "1") is None
    fill(cache, "1", "one")
    found = cache.find("scan", "1")
    assert found is not None and (found / "result").read_text() == "one"
    assert cache.find("scan", "2") is None
    assert cache.cost("scan", "1").frames == 3


def test_a_new_result_takes_the_place_of_older_ones(tmp_path):
    cache = StageCache(tmp_path, "video")
    fill(cache, "1", "one")
    (tmp_path / "video" / ".scan-1.0123abcd").mkdir()  # of a process that was killed
    fill(cache, "2", "two")
    assert cache.find("scan", "1") is None
    assert [path.name for path in (tmp_path / "video").iterdir()] == ["scan-2"]


def test_what_fails_leaves_nothing_and_costs_nothing_that_was_there(tmp_path):
    cache = StageCache(tmp_path, "video")
    fill(cache, "1", "one")
    with pytest.raises(KeyboardInterrupt), cache.making("scan", "2") as (folder, _):
        (folder / "result").write_text("half")
        raise KeyboardInterrupt
    assert cache.find("scan", "1") is not None
    assert [path.name for path in (tmp_path / "video").iterdir()] == ["scan-1"]


def test_stages_do_not_remove_each_other(tmp_path):
    cache = StageCache(tmp_path, "video")
    fill(cache, "1", "one")
    with cache.making("crop", "1"):
        pass
    assert cache.find("scan", "1") is not None
    assert cache.find("crop", "1") is not None


def test_keys_change_with_everything_that_goes_in():
    options = {"fps": None, "every": 5}
    keys = {key_of("scan", 1, options), key_of("scan", 2, options), key_of("scan", 1, options | {"fps": 25.0})}
    assert len(keys) == 3
    assert key_of(1, {"a": 1, "b": 2}) == key_of(1, {"b": 2, "a": 1})

"""dnnlib.lazy: modules that are imported when they are first used."""

import sys

import pytest

from dnnlib.lazy import found, lazy_module


@pytest.fixture
def late(tmp_path, monkeypatch) -> str:
    """The name of a module that nobody has imported."""
    (tmp_path / "a_late_module.py").write_text("answer = 42\ndef twice(x): return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "a_late_module"
    sys.modules.pop("a_late_module", None)


def test_a_module_is_imported_when_something_of_it_is_asked_for(late):
    module = lazy_module(late)
    assert late not in sys.modules
    assert module.answer == 42 and late in sys.modules
    assert module.twice(3) == 6
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_what_is_replaced_in_the_module_is_found(late, monkeypatch):
    module = lazy_module(late)
    assert module.answer == 42
    monkeypatch.setattr(sys.modules[late], "answer", 7)
    assert module.answer == 7


def test_a_module_that_is_not_there_is_an_error_when_it_is_used():
    module = lazy_module("nobody_has_this")
    with pytest.raises(ModuleNotFoundError, match="nobody_has_this"):
        module.run()


def test_things_by_their_place(late):
    assert found(f"{late}:twice")(2) == 4

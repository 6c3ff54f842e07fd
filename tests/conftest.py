"""The whole suite."""


def pytest_collection_modifyitems(items):
    """What looks back on all other tests comes last."""
    items.sort(key=lambda item: item.path.name == "test_golden.py")

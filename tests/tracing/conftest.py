"""Tests of every architecture that take long count as slow for every other one."""

import pytest

from tests.architectures import CASES


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is marked `slow_for_every_other`, where the architecture's number is odd."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and item.get_closest_marker("slow_for_every_other") is not None:
            if CASES.index(callspec.params["case"]) % 2:
                item.add_marker(pytest.mark.slow)

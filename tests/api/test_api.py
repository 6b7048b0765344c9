"""The short version of `make api-test`."""

from pathlib import Path

import pytest

from tests.api.check_api import fuzz


@pytest.mark.slow
def test_the_api_is_what_its_document_says(tmp_path: Path) -> None:
    count, found = fuzz(tmp_path, cases=120, seed=1)
    assert not found, found
    assert count >= 60

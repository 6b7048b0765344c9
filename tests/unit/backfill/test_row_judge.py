from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moderator import Moderator, Settings
from moderator.backfill.backfill_items import Item
from moderator.backfill.row_judge import RowJudge, from_batch, to_batch
from moderator.errors import PolicyNotFound
from tests.support.colour_encoder import ColourEncoder, picture, write_policies


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    policies = write_policies(tmp_path / "policies")
    return Settings(
        policies=policies,
        default_policy="colours",
        cache=tmp_path / "cache",
        threads=2,
        decode="threads",
        max_batch=4,
    )


@pytest.fixture
def judge(settings: Settings) -> Iterator[RowJudge]:
    judge = RowJudge(settings, None, None, ColourEncoder())
    yield judge
    judge.close()


def test_the_rows_are_those_of_check(judge: RowJudge, settings: Settings, tmp_path: Path) -> None:
    files = [tmp_path / f"{colour}.png" for colour in ("red", "green", "blue")]
    for file in files:
        file.write_bytes(picture(file.stem))
    (tmp_path / "broken.png").write_bytes(b"no image")
    files.append(tmp_path / "broken.png")
    items = [Item(n, str(file), "run-0", n) for n, file in enumerate(files)]
    columns = {name: np.array(values, dtype=object) for name, values in to_batch(items).items()}
    judged = judge(columns)
    rows = from_batch({name: values.tolist() for name, values in judged.items()})
    verdicts = Moderator(settings, encoder=ColourEncoder()).check(files)
    assert [number for number, _ in rows] == [0, 1, 2, 3]
    for (_, row), verdict, item in zip(rows, verdicts, items, strict=True):
        assert (row["id"], row["source"], row["path"]) == (item.event_id, "backfill", item.name)
        assert (row["decision"], row["unsafe_score"]) == (verdict.decision, verdict.unsafe_score)
        assert row["scores"] == {name: found.score for name, found in verdict.categories.items()}
    assert rows[0][1]["policy"] == "colours"
    assert rows[3][1]["error_type"] == "NotAnImage"


def test_urls_and_keys_are_fetched_by_the_rules_for_strangers(judge: RowJudge) -> None:
    items = [Item(1, "http://127.0.0.1/a.jpg", "b", 0), Item(2, "s3://others/a.jpg", "b", 1)]
    assert [row["error_type"] for row in judge.judge(items)] == ["FetchRefused", "FetchRefused"]


def test_a_policy_that_is_not_there_ends_the_run(settings: Settings) -> None:
    with pytest.raises(PolicyNotFound):
        RowJudge(settings, "nowhere", None, ColourEncoder())

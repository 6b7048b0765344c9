import subprocess
import sys

import pytest
from typer.testing import CliRunner

from moderator.cli.main import app

LOADED = "import sys, {modules}; print(*({{'torch', 'PIL', 'transformers', 'celery'}} & set(sys.modules)))"


@pytest.mark.parametrize(
    "modules", ["moderator.cli.deliver, workers.deliverer", "moderator.delivery.webhook_delivery"]
)
def test_it_loads_no_model_library_and_no_decoder(modules: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED.format(modules=modules)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_help_says_when_it_is_needed_and_how_it_is_set_up() -> None:
    shown = " ".join(CliRunner().invoke(app, ["deliver", "--help"]).output.split())
    for words in (
        "MODERATOR_DELIVER=apart",
        "MODERATOR_OUTBOX_CONSUMERS",
        "at least once",
        "--only webhooks",
    ):
        assert words in shown

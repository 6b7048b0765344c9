"""Both kinds through the facade, from a policy file and a pinned folder to the verdict."""

import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from moderator import Decision, Moderator, Settings
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.vlm_models import entry

POLICY = """\
name: both
version: 1
safe: [green, blue, white]
signals:
  - {{name: guard, kind: second-opinion, {guard}, share: 1, clears: {{red: {clears}}}}}
  - {{name: things, kind: detector, {detector}, words: [a cat, a red cup], threshold: 0.3}}
categories:
  red: {{unsafe: [red], review: 0.5, block: never}}
  things: {{signal: things, block: never}}
"""


@pytest.fixture(params=[0.5, 1e-6], ids=["clears", "keeps"])
def moderator(request: pytest.FixtureRequest, shieldgemma: Path, owlv2: Path, tmp_path: Path) -> Moderator:
    folder = tmp_path / "policies"
    guard, detector = (
        shutil.copytree(model, folder / "models" / model.name) for model in (shieldgemma, owlv2)
    )
    (folder / "both").mkdir()
    text = POLICY.format(
        guard=entry(guard, folder), detector=entry(detector, folder), clears=f"{request.param:f}"
    )
    (folder / "both" / "1.yaml").write_text(text)
    settings = Settings(
        policies=folder,
        default_policy="both@1",
        cache=tmp_path / "cache",
        threads=2,
        device="cpu",
        signal_dtype="float32",
    )
    return Moderator(settings, encoder=ColourEncoder())


def test_a_policy_with_both(moderator: Moderator) -> None:
    quiet, *reviewed = moderator.check([picture("green"), *[picture("red", size=(60, 40))] * 3])
    assert (quiet.decision, quiet.signals["guard"]["asked"]) == (Decision.ALLOW, [])
    assert quiet.signals["things"]["kind"] == "detector"
    for verdict in reviewed:
        facts = verdict.signals["guard"]
        limit = moderator.engine.resolver.select("both@1", "").decides.signals[0].options["clears"]["red"]  # type: ignore[index,call-overload]
        assert facts["outcome"] == ("cleared" if facts["answers"]["red"] < limit else "kept")
        assert verdict.decision is (Decision.ALLOW if facts["outcome"] == "cleared" else Decision.REVIEW)
        for box in verdict.signals["things"]["boxes"]:
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 60
            assert 0 <= box["y"] <= box["y"] + box["height"] <= 40
    assert reviewed[0].signals["things"]["count"] > 0


def test_boxes_of_a_picture_that_lies_on_its_side_are_in_the_upright_one(moderator: Moderator) -> None:
    """A large JPEG is decoded at a reduced size for the model, and its boxes are in pixels of the whole."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    Image.new("RGB", (4800, 2400), "green").save(file, "JPEG", exif=exif)
    (verdict,) = moderator.check([file.getvalue()])
    assert (verdict.image.width, verdict.image.height) == (2400, 4800)
    boxes = verdict.signals["things"]["boxes"]
    assert max(box["y"] + box["height"] for box in boxes) > 2400
    assert max(box["x"] + box["width"] for box in boxes) <= 2400


def test_the_signals_of_a_policy_are_checked_with_their_models(moderator: Moderator) -> None:
    policy = moderator.engine.resolver.select("both@1", "").decides
    assert moderator.engine.signals.check(policy) == {"guard": None, "things": None}

"""Signals through the facade: from a policy file to the verdict."""

from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator import Decision, Moderator, Settings
from moderator.embeddings.embedder import Embedder
from moderator.embeddings.policy_scores import score_by_policy
from moderator.errors import PolicyInvalid
from moderator.policies.loader import load_policy
from moderator.signals.kinds.hash_list import HashList
from moderator.signals.kinds.linear_probe import Probe
from moderator.signals.signal import Frame, SignalResult
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.tools import needs_extra

needs_extra("pdqhash", "hash")

KNOWN = HashList.examples()[0]
POLICY = """\
name: {name}
version: 1
safe: [green, blue, white]
signals:
  - {{name: bad, kind: hash-list, file: lists/bad.pdq, sha256: {sha256}}}
categories:
{red}  known: {{signal: bad, block: 1.0}}
"""


def tiff(*images: Image.Image) -> bytes:
    file = BytesIO()
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
    return file.getvalue()


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    digest = sha256(KNOWN.content or b"").hexdigest()
    for name, red in (("known", "  red: {unsafe: [red], block: 0.5}\n"), ("only", "")):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.yaml").write_text(POLICY.format(name=name, sha256=digest, red=red))
    (folder / "lists").mkdir()
    (folder / "lists" / "bad.pdq").write_bytes(KNOWN.content or b"")
    return folder


@pytest.fixture
def moderator(policies: Path, tmp_path: Path) -> Moderator:
    settings = Settings(policies=policies, default_policy="known@1", cache=tmp_path / "cache", threads=2)
    return Moderator(settings, encoder=ColourEncoder())


def test_a_known_picture_is_blocked(moderator: Moderator) -> None:
    known, other, red = moderator.check([tiff(KNOWN.frame.image), picture("green"), picture("red")])
    assert (known.decision, known.top_category, known.unsafe_score) == (Decision.BLOCK, "known", 1.0)
    assert known.safe_score == 0
    assert known.signals == {
        "bad": {"kind": "hash-list", "score": 1.0, "quality": 100, "distance": 0, "line": 2}
    }
    assert "signals" in known.timings_ms
    assert (other.decision, other.categories["known"].score) == (Decision.ALLOW, 0.0)
    assert (red.decision, red.top_category) == (Decision.BLOCK, "red")


def test_the_worst_frame_decides(moderator: Moderator) -> None:
    plain = Image.new("RGB", KNOWN.frame.image.size, "green")
    (verdict,) = moderator.check([tiff(plain, KNOWN.frame.image, plain)])
    assert (verdict.decision, verdict.signals["bad"]["distance"]) == (Decision.BLOCK, 0)


def test_a_policy_of_signals_alone(moderator: Moderator) -> None:
    known, red = moderator.check([tiff(KNOWN.frame.image), picture("red")], policy="only@1")
    assert (known.decision, red.decision, red.safe_score) == (Decision.BLOCK, Decision.ALLOW, 1.0)


def breaks(_: HashList, __: Frame) -> SignalResult:
    raise RuntimeError("out of order")


@pytest.mark.parametrize(
    ("read", "words"), [(breaks, "out of order"), (lambda _, __: SignalResult(float("nan")), "not in")]
)
def test_a_signal_that_fails_never_allows(
    moderator: Moderator,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[HashList, Frame], SignalResult],
    words: str,
) -> None:
    monkeypatch.setattr(HashList, "read", read)
    (verdict,) = moderator.check([picture("green")])
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "SignalFailed")
    assert words in verdict.error.message


def test_a_missing_file_is_an_error_until_it_is_there(moderator: Moderator, policies: Path) -> None:
    list_ = policies / "lists" / "bad.pdq"
    content = list_.read_bytes()
    list_.unlink()
    (verdict,) = moderator.check([picture("green")])
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "SignalFailed")
    cached = moderator.settings.cache / "signals" / "lists"
    cached.mkdir(parents=True)
    (cached / "bad.pdq").write_bytes(content)
    assert moderator.check([picture("green")])[0].decision is Decision.ALLOW


def with_shadow(policies: Path, shadow: str) -> None:
    """Policy `known` with version 2, which decides, and version 1 changed to a shadow with another text."""
    text = (policies / "known" / "1.yaml").read_text()
    (policies / "known" / "2.yaml").write_text(text.replace("version: 1", "version: 2"))
    (policies / "known" / "1.yaml").write_text(shadow)
    (policies / "active.yaml").write_text("known: {active: 2, shadow: [1]}\n")
    versions = [load_policy(policies / "known" / f"{n}.yaml") for n in (1, 2)]
    (policies / "releases.lock").write_text("".join(f"{v.reference} {v.digest}\n" for v in versions))


def test_equal_signals_of_several_policies_are_read_once(
    moderator: Moderator, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_shadow(
        policies,
        (policies / "known" / "1.yaml")
        .read_text()
        .replace("name: bad", "name: worse", 1)
        .replace("signal: bad", "signal: worse"),
    )
    moderator.engine.catalogue.refresh()
    calls, once = 0, HashList.read

    def counting(self: HashList, frame: Frame) -> SignalResult:
        nonlocal calls
        calls += 1
        return once(self, frame)

    monkeypatch.setattr(HashList, "read", counting)
    (verdict,) = moderator.check([tiff(KNOWN.frame.image)], policy="known")
    assert (verdict.decision, verdict.shadow[0].decision, calls) == (Decision.BLOCK, Decision.BLOCK, 1)


def test_a_shadow_that_fails_does_not_decide(moderator: Moderator, policies: Path) -> None:
    text = (policies / "known" / "1.yaml").read_text()
    start = text.index("sha256: ")
    with_shadow(
        policies, text.replace("bad.pdq", "gone.pdq").replace(text[start : start + 72], "sha256: " + "a" * 64)
    )
    moderator.engine.catalogue.refresh()
    (verdict,) = moderator.check([picture("green")], policy="known")
    assert (verdict.decision, verdict.shadow[0].decision) == (Decision.ALLOW, Decision.ERROR)
    assert verdict.shadow[0].categories == {}


PROBE = """\
name: probed
version: 1
signals:
  - {{name: reds, kind: probe, file: reds.safetensors, sha256: {sha256}, unsafe: [red]}}
categories:
  red: {{rule: probe, signal: reds, block: 0.9}}
"""


def probed(policies: Path, encoder: ColourEncoder) -> None:
    """Write a policy with a probe that tells red from green."""
    weight = np.stack([encoder.embed_texts([colour])[0] for colour in ("green", "red")]) * np.float32(20)
    probe = Probe(("green", "red"), weight, np.zeros(2, dtype=np.float32), encoder.identity, 1.0)
    probe.save(policies / "reds.safetensors")
    digest = sha256((policies / "reds.safetensors").read_bytes()).hexdigest()
    (policies / "probed").mkdir()
    (policies / "probed" / "1.yaml").write_text(PROBE.format(sha256=digest))


def test_a_probe_reads_the_embedding_of_the_worst_frame(moderator: Moderator, policies: Path) -> None:
    probed(policies, ColourEncoder())
    moderator.engine.catalogue.refresh()
    red, green = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "green")
    first, second = moderator.check([tiff(green), tiff(green, red, green)], policy="probed@1")
    assert (first.decision, second.decision) == (Decision.ALLOW, Decision.BLOCK)
    assert second.signals["reds"] == {
        "kind": "probe",
        "score": second.unsafe_score,
        "top": "red",
        "probability": pytest.approx(second.unsafe_score, abs=1e-4),
    }
    assert second.timings_ms["signals"] >= 0


def test_a_probe_of_another_model_is_an_error(moderator: Moderator, policies: Path) -> None:
    probed(policies, ColourEncoder("2"))
    moderator.engine.catalogue.refresh()
    (verdict,) = moderator.check([picture("green")], policy="probed@1")
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "ModelMismatch")
    assert "train it again" in verdict.error.message


def test_warming_up_tells_of_a_signal_that_cannot_be_used(
    moderator: Moderator, policies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (policies / "lists" / "bad.pdq").unlink()
    with_shadow(policies, (policies / "known" / "1.yaml").read_text())
    moderator.engine.catalogue.refresh()
    moderator.engine.compile_policies()
    assert "the signal bad cannot be used" in caplog.text


def test_a_list_that_was_edited_is_told_with_line_and_digest(policies: Path) -> None:
    (policies / "lists" / "bad.pdq").write_bytes(b"#\n")
    with pytest.raises(PolicyInvalid, match="another content") as caught:
        load_policy(policies / "known" / "1.yaml")
    assert f"its digest is {sha256(bytes([35, 10])).hexdigest()}" in str(caught.value)
    assert "1.yaml:5: signals.sha256, item 1" in str(caught.value)


def test_a_policy_of_signals_alone_has_no_scores_of_prompts(moderator: Moderator) -> None:
    embedder = Embedder(moderator.settings, encoder=moderator.engine.encoder)
    rows = moderator.engine.encoder.embed_texts(["red"])
    assert score_by_policy(embedder, rows, "only@1") == {}
    assert set(score_by_policy(embedder, rows, "known@1")) == {"red"}

import subprocess
import sys

#: Of decoding, models, and the queue.
HEAVY = ("PIL", "torch", "transformers", "onnxruntime", "redis", "celery")


def test_policies_are_read_changed_and_scored_without_decoder_and_model() -> None:
    names = "policies.store, moderator.policies.requirements, moderator.scoring.thresholds"
    script = f"import sys, moderator.{names}; print([name for name in {HEAVY} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"

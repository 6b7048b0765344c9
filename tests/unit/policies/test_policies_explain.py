from moderator.policies.explain import did_you_mean
from moderator.policies.schema import Rule


def test_did_you_mean() -> None:
    assert did_you_mean("softmax_sun", Rule) == "; did you mean 'softmax-sum'?"
    assert did_you_mean("bananas", Rule) == ""

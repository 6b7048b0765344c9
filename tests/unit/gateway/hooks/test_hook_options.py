import pytest

from moderator.errors import EventInvalid
from moderator.gateway.hooks.hook_options import read_options


def test_fields_of_the_event() -> None:
    query = {
        "policy": "marketplace@2",
        "priority": "bulk",
        "source": "shop",
        "webhook": "https://e.org/v",
        "key": "k",
    }
    assert read_options(query) == {
        "policy": "marketplace@2",
        "priority": "bulk",
        "source": "shop",
        "reply": {"webhook": "https://e.org/v"},
    }
    assert read_options({}) == {}


@pytest.mark.parametrize(("name", "hint"), [("polcy", "did you mean 'policy'"), ("id", "known are policy")])
def test_another_parameter_is_a_mistake(name: str, hint: str) -> None:
    with pytest.raises(EventInvalid, match=hint):
        read_options({name: "x"})

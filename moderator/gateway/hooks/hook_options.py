"""What an operator may write into the query of a hook's URL. Pure."""

from collections.abc import Mapping
from typing import Any

from moderator.errors import EventInvalid
from moderator.suggestions import did_you_mean

#: Parameters by which senders without headers of their own name the gateway's key.
KEY_PARAMETERS = ("key",)
#: Fields of the event that is submitted.
FIELDS = ("policy", "priority", "source", "webhook")


def read_options(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of events that a query sets.

    Raises:
        EventInvalid: it has a parameter of another name.
    """
    for name in query:
        if name not in (*FIELDS, *KEY_PARAMETERS):
            hint = did_you_mean(name, FIELDS) or f"known are {', '.join(FIELDS)}"
            raise EventInvalid(f"the query has an unknown parameter {ascii(name)[:60]}; {hint}")
    options: dict[str, Any] = {
        name: query[name] for name in ("policy", "priority", "source") if name in query
    }
    if "webhook" in query:
        options["reply"] = {"webhook": query["webhook"]}
    return options

"""Statements of reasons for the EU's DSA Transparency Database, one for each blocked image. Nothing sends them."""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from moderator.errors import PolicyError, StatementInvalid
from moderator.policies.loader import read_policy
from moderator.policies.schema import Policy
from moderator.verdicts import Decision

#: The first day that the database takes for content.
CONTENT_DATE_MIN = date(2000, 1, 1)
#: Policies kept between verdicts.
POLICIES_CACHED = 64


class StatementWriter:
    """Writes statements from verdicts and the `dsa:` blocks of the policy versions that decided.

    Args:
        policies: folder of policies.
    """

    def __init__(self, policies: Path) -> None:
        self._folder = policies
        self._read = lru_cache(POLICIES_CACHED)(self._read_policy)

    def write(self, verdict: dict[str, Any]) -> dict[str, Any] | None:
        """Return the statement of a verdict as the database's interface takes it; None: it blocked nothing.

        Raises:
            StatementInvalid: it has none, or would not be taken; the message names policy, category and key.
        """
        if verdict["decision"] != Decision.BLOCK:
            return None
        name, answers = verdict["policy"]["name"], verdict["categories"]
        blocked = [title for title, answer in answers.items() if answer["decision"] == Decision.BLOCK]
        title = max(blocked, key=lambda one: (answers[one]["score"], one))
        version, digest = verdict["policy"]["version"], verdict["policy"]["digest"]
        policy = self._read(name, version)
        place = f"{name}@{version}: {title}"
        if policy.digest != digest:
            raise StatementInvalid(f"{place}: the file of that version is another one now; restore it")
        block = policy.categories[title].dsa
        if block is None:
            raise StatementInvalid(
                f"{place}: dsa is missing; add the block to the category in the next version"
            )
        decided = datetime.fromisoformat(verdict["created_at"]).astimezone(UTC).date()
        identity = "\0".join((verdict["source"], verdict["event_id"], verdict["created_at"]))
        return {
            **block.model_dump(mode="json"),
            "content_type": ["CONTENT_TYPE_IMAGE"],
            "content_date": _content_date(verdict, decided, place).isoformat(),
            "application_date": decided.isoformat(),
            "source_type": "SOURCE_VOLUNTARY",
            "automated_detection": "Yes",
            "automated_decision": "AUTOMATED_DECISION_FULLY",
            "puid": sha256(identity.encode()).hexdigest(),
        }

    def _read_policy(self, name: str, version: int) -> Policy:
        try:
            return read_policy(self._folder / name / f"{version}.yaml")
        except PolicyError as error:
            raise StatementInvalid(f"{name}@{version}: {error}") from error


def _content_date(verdict: dict[str, Any], decided: date, place: str) -> date:
    """Return the day on which the content was posted: `metadata.content_date`, else the day of the decision."""
    given = verdict["metadata"].get("content_date")
    if given is None:
        return decided
    if isinstance(given, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", given):
        try:
            day = date.fromisoformat(given)
        except ValueError:
            pass
        else:
            if CONTENT_DATE_MIN <= day <= decided:
                return day
    raise StatementInvalid(
        f"{place}: content_date: metadata.content_date of {verdict['source']}:{verdict['event_id']} is {given!r}; "
        f"it has to be a day from {CONTENT_DATE_MIN} to the decision, as YYYY-MM-DD"
    )

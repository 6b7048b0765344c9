"""One finding of a lint of policies. Pure data."""

from dataclasses import dataclass
from enum import StrEnum

from moderator.policies.yaml_reader import KeyPath


class Severity(StrEnum):
    """`error`: certainly a mistake. `warning`: does less than it seems. `hint`: another way often works better."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True)
class LintFinding:
    """One finding: its place in the policy, and a message with the remedy."""

    path: KeyPath
    severity: Severity
    message: str

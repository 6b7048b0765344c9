"""The `dsa:` block of a category: the reasons of its blocks, as the EU's DSA Transparency Database wants them. Pure.

Keys and values have that database's own names; its documentation explains them. The rest of a statement comes from the
verdict, see `moderator.archive.statements`.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from moderator.policies.fields import Frozen, policy_error, refuse
from moderator.suggestions import closest

#: Most characters of a ground (and of an address), of an explanation, and of the facts.
MAX_GROUND, MAX_EXPLANATION, MAX_FACTS = 500, 2_000, 5_000

ILLEGAL, INCOMPATIBLE = "DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"
CATEGORIES = tuple(
    f"STATEMENT_CATEGORY_{name}"
    for name in (
        "ANIMAL_WELFARE",
        "CONSUMER_INFORMATION",
        "CYBER_VIOLENCE",
        "CYBER_VIOLENCE_AGAINST_WOMEN",
        "DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
        "ILLEGAL_OR_HARMFUL_SPEECH",
        "INTELLECTUAL_PROPERTY_INFRINGEMENTS",
        "NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
        "NOT_SPECIFIED_NOTICE",
        "OTHER_VIOLATION_TC",
        "PROTECTION_OF_MINORS",
        "RISK_FOR_PUBLIC_SECURITY",
        "SCAMS_AND_FRAUD",
        "SELF_HARM",
        "UNSAFE_AND_PROHIBITED_PRODUCTS",
        "VIOLENCE",
    )
)
#: What a block may mean for the picture; `_OTHER` needs a text of its own and says less.
VISIBILITIES = tuple(
    f"DECISION_VISIBILITY_CONTENT_{name}"
    for name in ("REMOVED", "DISABLED", "DEMOTED", "AGE_RESTRICTED", "INTERACTION_RESTRICTED", "LABELLED")
)
#: The countries of the European Union and the European Economic Area.
_COUNTRIES = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
COUNTRIES = tuple(_COUNTRIES.split())
#: The keys that each ground needs, and that the other must not have.
GROUND_KEYS = {
    ILLEGAL: ("illegal_content_legal_ground", "illegal_content_explanation"),
    INCOMPATIBLE: ("incompatible_content_ground", "incompatible_content_explanation"),
}
#: What to write where a key is missing or holds something of the wrong kind.
STATEMENT_EXAMPLES = {
    "dsa": "dsa: and below it, indented, its keys such as 'decision_ground'",
    "category": "category: STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
    "decision_ground": f"decision_ground: {INCOMPATIBLE}",
    "decision_facts": "decision_facts: The picture of the offer shows a weapon.",
    "decision_visibility": "decision_visibility: [DECISION_VISIBILITY_CONTENT_REMOVED]",
    "illegal_content_legal_ground": "illegal_content_legal_ground: the law and its section",
    "illegal_content_explanation": "illegal_content_explanation: why that law forbids it",
    "incompatible_content_ground": "incompatible_content_ground: Terms of use, section 4.2",
    "incompatible_content_explanation": "incompatible_content_explanation: why these terms forbid it",
    "territorial_scope": "territorial_scope: [AT, DE]",
}


def _one_of(values: tuple[str, ...]) -> tuple[AfterValidator, WithJsonSchema]:
    def check(value: str) -> str:
        if value not in values:
            meant = closest(value.upper(), values)
            hint = f"did you mean '{meant}'?" if meant else f"choose one of {', '.join(values)}"
            raise policy_error(f"'{value[:60]}' is no value of the database; {hint}")
        return value

    return AfterValidator(check), WithJsonSchema({"enum": list(values)})


def _text(value: str) -> str:
    """Return the text on one line, with single spaces."""
    text = " ".join(value.split())
    if not text:
        raise policy_error("is empty; write the text or remove the line")
    return text


Ground = Annotated[str, Field(max_length=MAX_GROUND), AfterValidator(_text)]
Explanation = Annotated[str, Field(max_length=MAX_EXPLANATION), AfterValidator(_text)]


def _optional() -> Any:
    """Return an optional field that is left out of the digest while it is absent."""
    return Field(None, exclude_if=lambda value: value is None)


class StatementBlock(Frozen):
    """The reasons for which a category blocks. The keys that are not here, the verdict fills in."""

    category: Annotated[str, *_one_of(CATEGORIES)]
    """The database's category."""
    decision_ground: Annotated[str, *_one_of((ILLEGAL, INCOMPATIBLE))]
    """Whether the picture is illegal or against the terms of use. Each goes with its own two keys below."""
    decision_facts: Annotated[str, Field(max_length=MAX_FACTS), AfterValidator(_text)]
    """What the picture shows."""
    decision_visibility: Annotated[
        tuple[Annotated[str, *_one_of(VISIBILITIES)], ...], Field(min_length=1, max_length=len(VISIBILITIES))
    ] = (VISIBILITIES[0],)
    """What the block means for the picture."""
    decision_ground_reference_url: Ground | None = _optional()
    """Address of the law or of the terms."""
    illegal_content_legal_ground: Ground | None = _optional()
    """The law."""
    illegal_content_explanation: Explanation | None = _optional()
    """Why the law forbids it."""
    incompatible_content_ground: Ground | None = _optional()
    """The section of the terms."""
    incompatible_content_explanation: Explanation | None = _optional()
    """Why the terms forbid it."""
    territorial_scope: (
        Annotated[tuple[Annotated[str, *_one_of(COUNTRIES)], ...], Field(min_length=1)] | None
    ) = _optional()
    """Countries in which the block counts."""

    @model_validator(mode="after")
    def _grounded(self) -> Self:
        problems = []
        for ground, needed in GROUND_KEYS.items():
            for key in needed:
                given = getattr(self, key)
                if ground == self.decision_ground and given is None:
                    example = STATEMENT_EXAMPLES[key]
                    message = f"is missing, and {ground} needs it; write for example '{example}'"
                    problems.append(((key,), message, None))
                elif ground != self.decision_ground and given is not None:
                    problems.append(
                        ((key,), f"goes with {ground}; remove it or change decision_ground", given)
                    )
        refuse(problems)
        return self

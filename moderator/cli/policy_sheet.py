"""Print one version of a policy: its prompts, rules, thresholds, and those of each encoder."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moderator.policies.calibration_schema import Calibration, PlattCalibration
from moderator.policies.category_schema import Category
from moderator.policies.encoder_scales import CategoryScale, EncoderScales
from moderator.policies.fields import NO_SHIFT, threshold_text
from moderator.policies.schema import Policy
from moderator.policies.view_options import ViewOptions


def print_policy(console: Console, policy: Policy, state: Text) -> None:
    """Print a version; `state` says whether it is released, and who uses it."""
    console.print(Text.assemble((policy.reference, "bold"), "  ", state))
    if policy.description:
        console.print(Text(policy.description))
    console.print(Text(f"digest     {policy.digest}"))
    console.print(Text(f"templates  {' | '.join(policy.templates)}"))
    console.print(Text(f"safe       {', '.join(policy.safe) or '(none shared)'}"))
    if policy.views != ViewOptions():
        most = "as set" if policy.views.most is None else str(policy.views.most)
        console.print(Text(f"views      {most}{', also turned' if policy.views.turned else ''}"))
    table = _table("category", "rule", "review", "block", padding=(0, 2, 1, 0))
    table.add_column("prompts", ratio=1)
    for title, category in policy.categories.items():
        table.add_row(title, _rule(category), *_thresholds(category), _contents(category))
    console.print(table)
    for scales in policy.encoders:
        console.print(_measured(scales))


def _rule(category: Category) -> str:
    if category.when is not None:
        return "condition"
    steps = [category.rule.value if category.has_prompts else "signal"]
    if category.midpoint != NO_SHIFT:
        steps.append(f"midpoint {category.midpoint:g}")
    if category.view_allowance:
        steps.append(f"views {category.view_allowance:g} lower")
    if category.probe is not None:
        steps.append(f"{category.probe.weight:g} of {category.probe.signal}")
    if category.calibration is not None:
        steps.append(calibration_text(category.calibration))
    return ", ".join(steps)


def _contents(category: Category) -> Text:
    text = Text.assemble(("unsafe: ", "red"), ", ".join(category.unsafe))
    if not category.has_prompts:
        text = Text(category.signal or category.when or "")
    if category.safe:
        text.append_text(Text.assemble("\n", ("safe: ", "green"), ", ".join(category.safe)))
    if category.severity is not None:
        text.append_text(Text.assemble("\n", ("severity: ", "dim"), category.severity.value))
    if category.message is not None:
        text.append_text(Text.assemble("\n", ("message: ", "dim"), category.message))
    return text


def _measured(scales: EncoderScales) -> Table:
    table = _table("category", "midpoint", "calibration", "review", "block")
    table.title = f"on {scales.identity}, {scales.preprocessing}"
    table.title_justify = "left"
    for title, scale in scales.categories.items():
        calibration = "-" if scale.calibration is None else calibration_text(scale.calibration)
        table.add_row(title, f"{scale.midpoint:g}", calibration, *_thresholds(scale))
    return table


def calibration_text(calibration: Calibration) -> str:
    """Return a calibration in a few words."""
    if isinstance(calibration, PlattCalibration):
        return f"platt {calibration.slope:g} {calibration.offset:+g}"
    return f"isotonic, {len(calibration.points)} points"


def _thresholds(scale: Category | CategoryScale) -> tuple[str, str]:
    return "-" if scale.review is None else f"{scale.review:g}", threshold_text(scale.block)


def _table(*headings: str, padding: tuple[int, int, int, int] = (0, 2, 0, 0)) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=padding)
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="fold")
    return table

"""Settings section for the flood breaker: when blocks of a category are diverted to review."""

from pydantic import Field

from moderator.settings.section import Section


class FloodSettings(Section):
    """When the flood breaker diverts the blocks of a category to review. All workers need the same."""

    flood_breaker: bool = Field(
        True, description="Divert blocks to review while a category blocks far more than it usually does."
    )
    flood_ratio: float = Field(
        5.0, gt=1, description="Times the usual odds of a block at which the breaker of a category opens."
    )
    flood_blocks: int = Field(20, ge=1, description="Blocks in the window without which it never opens.")
    flood_window: float = Field(
        60.0,
        gt=0,
        description="Seconds that are compared with what is usual; more where fewer than 300 images come in that time.",
    )
    flood_history: int = Field(
        500,
        ge=1,
        description="Images of a category before the window without which its breaker stays closed.",
    )
    flood_learning: float = Field(
        3600.0, ge=0, description="Seconds since the first image of a category, likewise."
    )
    flood_cooldown: float = Field(
        300.0, ge=0, description="Seconds for which the rate is back to usual before the breaker closes."
    )

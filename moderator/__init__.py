"""Self-hosted image moderation: CLIP-family models, versioned policies in words, one verdict for every upload."""

from moderator.moderator import Moderator
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict

__all__ = ["Decision", "Moderator", "Settings", "Verdict"]

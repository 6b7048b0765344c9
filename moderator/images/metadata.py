"""Read what a file says about its picture: colour profile and orientation, and which viewers heed it."""

from dataclasses import dataclass

from PIL import ExifTags, Image

from moderator.images.code_points import profile_of_code_points
from moderator.images.profiles import SRGB_CHROMATICITIES, make_profile

#: Gamma of a PNG that is sRGB's as near as a power can be, and how far others may be from it.
_SRGB_GAMMA, _SRGB_GAMMA_TOLERANCE = 0.45455, 0.02


@dataclass(frozen=True)
class Metadata:
    """What is said about a picture."""

    profile: bytes | None = None
    orientation: int = 1
    turned: bool = True
    """Whether browsers heed the orientation."""
    turned_by_all: bool = True


def read_metadata(
    image: Image.Image, format_name: str, code_points: tuple[int, int] | None = None
) -> Metadata:
    """Return what an opened file says. Damaged metadata is ignored, as viewers do.

    Args:
        image: the file.
        format_name: as Pillow calls it.
        code_points: of primaries and transfer function, if the file names its colours by them.
    """
    profile = image.info.get("icc_profile") or None
    if code_points is not None:
        profile = profile_of_code_points(*code_points) or profile
    if format_name == "PNG" and profile is None and "srgb" not in image.info:
        profile = _gamma_profile(image)
    # Pillow turns a TIFF itself.
    orientation = 1 if format_name == "TIFF" else _orientation(image)
    in_exif = orientation != 1 and _names_orientation(image.info.get("exif"))
    # Of an AVIF, Pillow reports the properties that every viewer heeds as if they were EXIF.
    agreed = in_exif and format_name in ("JPEG", "AVIF")
    return Metadata(profile, orientation, agreed, agreed or orientation == 1)


def _gamma_profile(image: Image.Image) -> bytes | None:
    """Return a profile for a PNG's gamma and primaries; None if it has none, or sRGB's."""
    gamma = image.info.get("gamma") or 0.0
    colours = image.info.get("chromaticity") or SRGB_CHROMATICITIES
    if not gamma or (abs(gamma - _SRGB_GAMMA) < _SRGB_GAMMA_TOLERANCE and colours == SRGB_CHROMATICITIES):
        return None
    try:
        return make_profile(1 / gamma, colours)
    except ValueError:
        return None


def _orientation(image: Image.Image) -> int:
    """Return the orientation that EXIF or XMP gives, 1 to 8."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1  # viewers show a picture whose EXIF is damaged, and so do we
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _names_orientation(exif: bytes | None) -> bool:
    try:
        tags = Image.Exif()
        tags.load(exif or b"")
    except Exception:
        return False  # as above
    return ExifTags.Base.Orientation in tags

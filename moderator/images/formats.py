"""The accepted file formats, recognised by content.

The raster formats that people upload and that browsers or phones show are accepted. Vector and document formats
(SVG, PDF, EPS) need an interpreter; PSD and the rarer raster formats only add code that strangers can reach.
"""

from moderator.errors import NotAnImage

#: Pillow's names of the formats.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")
ACCEPTED = "JPEG, PNG, GIF, WebP, AVIF, BMP, TIFF, ICO"

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\1\0", "ICO"),
)
_NOT_ACCEPTED = (
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\3\4", "zip"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx")
_VIDEO_BRANDS = (b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"M4V ", b"qt  ")


def sniff(data: bytes) -> str:
    """Return Pillow's name of the format, as the first bytes show it.

    Raises:
        NotAnImage: none of the accepted formats; the message names the actual one if it is known.
    """
    head = data[:64]
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(len(head), _box_length(head)), 4))]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
    raise NotAnImage(f"{_describe(data)}; accepted are {ACCEPTED}")


def _box_length(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")


def _describe(data: bytes) -> str:
    if not data:
        return "the file is empty"
    for signature, name in _NOT_ACCEPTED:
        if data.startswith(signature):
            return f"{name} is not accepted"
    if data[4:8] == b"ftyp":
        if data[8:12] in _VIDEO_BRANDS:
            return "a video is not accepted"
        if data[8:12] in (*_HEIF_BRANDS, b"mif1", b"msf1"):
            return "HEIC/HEIF is not accepted (convert it to JPEG)"
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head
    ):
        return "SVG is not accepted (render it to PNG)"
    if head.startswith((b"<!doctype html", b"<html")):
        return "this is a web page, not an image"
    return "the content is no known image format"

"""Models that are known to work, with figures and their sources.

A figure is from a paper, a model card or OpenCLIP's table of results, or was measured here; it is omitted where no
source is certain. Parameters (of both towers) are from OpenCLIP's table for the models that it lists, else from the
model cards. Other checkpoints of the same families work, too.
"""

from dataclasses import dataclass

MIT, APACHE, NON_COMMERCIAL, APPLE = "MIT", "Apache-2", "CC-BY-NC", "Apple"

#: Sources of the zero-shot accuracies on ImageNet-1k.
OPENCLIP = "OpenCLIP's table of results: github.com/mlfoundations/open_clip, docs/openclip_results.csv"
CLIP = (
    "measured by others on the released weights (Wortsman et al., 2022, arXiv:2109.01903; OpenCLIP's table has the "
    "same within 0.1); the paper, Radford et al., 2021, arXiv:2103.00020, table 11, has 63.2, 68.6, 75.3 and 76.2"
)
METACLIP = "Xu et al., 2023, arXiv:2309.16671; MetaCLIP 2: Chuang et al., 2025, arXiv:2507.22062"
SIGLIP2 = "Tschannen et al., 2025, arXiv:2502.14786, table 1"
MOBILECLIP = "Vasu et al., 2024, arXiv:2311.17049, and the model cards"
HERE = (
    "measured here: one photograph of each class (1,000), the classes' names in the 80 templates of the CLIP paper, by "
    "`moderator bench zero-shot --data labels.csv --classes classes.txt`; its image tower was trained on these classes"
)


@dataclass(frozen=True)
class KnownModel:
    """One row. `name` is what MODERATOR_ENCODER takes."""

    name: str
    family: str
    image_size: int
    """Side of the input square, in pixels."""
    dimension: int
    """Length of an embedding."""
    parameters: float | None
    """Millions, both towers."""
    top1: float | None
    """Zero-shot accuracy on ImageNet-1k, in percent."""
    top1_source: str | None
    """Source of that figure."""
    licence: str | None
    """Short name of the weights' licence; the model card has the terms."""


#: Name, image size, dimension, parameters, top-1.
Row = tuple[str, int, int, float | None, float | None]


def _family(family: str, licence: str | None, source: str | None, *rows: Row) -> list[KnownModel]:
    return [KnownModel(row[0], family, *row[1:], source if row[4] else None, licence) for row in rows]


KNOWN: tuple[KnownModel, ...] = (
    *_family("embedded", APACHE, HERE, ("embedded", 260, 512, None, 48.1)),
    *_family(
        "CLIP (OpenAI)",
        MIT,
        CLIP,
        ("clip:openai/clip-vit-base-patch32", 224, 512, 151.3, 63.4),
        ("clip:openai/clip-vit-base-patch16", 224, 512, 149.6, 68.3),
        ("clip:openai/clip-vit-large-patch14", 224, 768, 427.6, 75.5),
        ("clip:openai/clip-vit-large-patch14-336", 336, 768, 427.9, 76.6),
    ),
    *_family(
        "OpenCLIP, converted for transformers",
        MIT,
        OPENCLIP,
        ("clip:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 224, 512, 151.3, 66.6),
        ("clip:laion/CLIP-ViT-B-16-laion2B-s34B-b88K", 224, 512, 149.6, 70.2),
        ("clip:laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 224, 768, 427.6, 75.3),
        ("clip:laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 224, 1024, 986.1, 78.0),
        ("clip:laion/CLIP-ViT-g-14-laion2B-s34B-b88K", 224, 1024, 1366.7, 78.5),
        ("clip:laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", 224, 1280, 2539.6, 80.1),
    ),
    *_family(
        "MetaCLIP",
        NON_COMMERCIAL,
        METACLIP,
        ("clip:facebook/metaclip-b32-400m", 224, 512, 151.3, 65.6),
        ("clip:facebook/metaclip-l14-fullcc2.5b", 224, 768, 427.6, 79.2),
        ("clip:facebook/metaclip-h14-fullcc2.5b", 224, 1024, 986.1, 80.5),
        ("auto:facebook/metaclip-2-worldwide-huge-quickgelu", 224, 1024, None, 81.3),
    ),
    *_family(
        "SigLIP",
        APACHE,
        OPENCLIP,
        ("siglip:google/siglip-base-patch16-224", 224, 768, 203.2, 76.0),
        ("siglip:google/siglip-base-patch16-384", 384, 768, 203.5, 78.5),
        ("siglip:google/siglip-large-patch16-256", 256, 1024, 652.2, 80.5),
        ("siglip:google/siglip-large-patch16-384", 384, 1024, 652.5, 82.1),
        ("siglip:google/siglip-so400m-patch14-384", 384, 1152, 878.0, 83.1),
    ),
    *_family(
        "SigLIP 2",
        APACHE,
        SIGLIP2,
        ("siglip:google/siglip2-base-patch32-256", 256, 768, 376.9, 74.0),
        ("siglip:google/siglip2-base-patch16-224", 224, 768, 375.2, 78.2),
        ("siglip:google/siglip2-large-patch16-256", 256, 1024, 881.5, 82.5),
        ("siglip:google/siglip2-so400m-patch14-384", 384, 1152, 1136.0, 84.1),
        ("siglip:google/siglip2-giant-opt-patch16-384", 384, 1536, 1871.9, 85.0),
    ),
    *_family("ALIGN, by Kakao Brain", None, None, ("auto:kakaobrain/align-base", 289, 640, None, None)),
    *_family("AltCLIP", "OpenRAIL", None, ("auto:BAAI/AltCLIP", 224, 768, None, None)),
    *_family(
        "Chinese-CLIP", None, None, ("auto:OFA-Sys/chinese-clip-vit-base-patch16", 224, 512, None, None)
    ),
    *_family(
        "OpenCLIP",
        MIT,
        OPENCLIP,
        ("openclip:ViT-B-32-256/datacomp_s34b_b86k", 256, 512, 151.3, 72.8),
        ("openclip:ViT-B-16/datacomp_xl_s13b_b90k", 224, 512, 149.6, 73.5),
        ("openclip:ViT-L-14/datacomp_xl_s13b_b90k", 224, 768, 427.6, 79.2),
        ("openclip:ViT-g-14/laion2b_s34b_b88k", 224, 1024, 1366.7, 78.5),
        ("openclip:ViT-bigG-14/laion2b_s39b_b160k", 224, 1280, 2539.6, 80.1),
    ),
    *_family(
        "DFN, through OpenCLIP",
        APPLE,
        OPENCLIP,
        ("openclip:ViT-L-14-quickgelu/dfn2b", 224, 768, 427.6, 81.4),
        ("openclip:ViT-H-14-378-quickgelu/dfn5b", 378, 1024, 986.7, 84.4),
    ),
    *_family(
        "EVA, through OpenCLIP",
        MIT,
        OPENCLIP,
        ("openclip:EVA02-B-16/merged2b_s8b_b131k", 224, 512, 149.7, 74.7),
        ("openclip:EVA02-L-14-336/merged2b_s6b_b61k", 336, 768, 428.1, 80.4),
        ("openclip:EVA01-g-14-plus/merged2b_s11b_b114k", 224, 1024, 1366.6, 79.3),
        ("openclip:EVA02-E-14-plus/laion2b_s9b_b144k", 224, 1024, 5044.9, 82.0),
    ),
    *_family(
        "MobileCLIP, through OpenCLIP",
        APPLE,
        MOBILECLIP,
        ("openclip:MobileCLIP-S1/datacompdr", 256, 512, 85.0, 72.6),
        ("openclip:MobileCLIP-S2/datacompdr", 256, 512, 99.2, 74.4),
        ("openclip:MobileCLIP-B/datacompdr_lt", 224, 512, 149.8, 77.2),
    ),
    *_family(
        "SigLIP, through OpenCLIP",
        APACHE,
        OPENCLIP,
        ("openclip:ViT-SO400M-14-SigLIP-384/webli", 384, 1152, 878.0, 83.1),
    ),
    *_family(
        "SigLIP 2, through OpenCLIP",
        APACHE,
        SIGLIP2,
        ("openclip:ViT-gopt-16-SigLIP2-384/webli", 384, 1536, 1871.9, 85.0),
    ),
)

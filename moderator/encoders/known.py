"""Models that are known to fit, with what their publishers say of them.

Parameters (of both towers) and zero-shot accuracy on ImageNet-1k are from OpenCLIP's table of results for the models
that it lists (`docs/openclip_results.csv` of mlfoundations/open_clip), else from the paper or the model card: SigLIP 2
(Tschannen et al., 2025), MobileCLIP (Vasu et al., 2024), MetaCLIP 2 (Chuang et al., 2025). Where a figure is not
certain, there is none. Other checkpoints of the same families work, too.
"""

from dataclasses import dataclass

MIT, APACHE, NON_COMMERCIAL, APPLE = "MIT", "Apache-2", "CC-BY-NC", "Apple"


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
    licence: str | None
    """Of the weights, in short; the model card has the terms."""


#: Name, image size, dimension, parameters, top-1.
Row = tuple[str, int, int, float | None, float | None]


def _family(family: str, licence: str | None, *rows: Row) -> list[KnownModel]:
    return [KnownModel(row[0], family, row[1], row[2], row[3], row[4], licence) for row in rows]


KNOWN: tuple[KnownModel, ...] = (
    *_family("embedded", APACHE, ("embedded", 260, 385, None, None)),
    *_family(
        "CLIP (OpenAI)",
        MIT,
        ("clip:openai/clip-vit-base-patch32", 224, 512, 151.3, 63.3),
        ("clip:openai/clip-vit-base-patch16", 224, 512, 149.6, 68.3),
        ("clip:openai/clip-vit-large-patch14", 224, 768, 427.6, 75.5),
        ("clip:openai/clip-vit-large-patch14-336", 336, 768, 427.9, 76.6),
    ),
    *_family(
        "OpenCLIP, converted for transformers",
        MIT,
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
        ("clip:facebook/metaclip-b32-400m", 224, 512, 151.3, 65.6),
        ("clip:facebook/metaclip-l14-fullcc2.5b", 224, 768, 427.6, 79.2),
        ("clip:facebook/metaclip-h14-fullcc2.5b", 224, 1024, 986.1, 80.5),
        ("auto:facebook/metaclip-2-worldwide-huge-quickgelu", 224, 1024, None, 81.3),
    ),
    *_family(
        "SigLIP",
        APACHE,
        ("siglip:google/siglip-base-patch16-224", 224, 768, 203.2, 76.0),
        ("siglip:google/siglip-base-patch16-384", 384, 768, 203.5, 78.5),
        ("siglip:google/siglip-large-patch16-256", 256, 1024, 652.2, 80.5),
        ("siglip:google/siglip-large-patch16-384", 384, 1024, 652.5, 82.1),
        ("siglip:google/siglip-so400m-patch14-384", 384, 1152, 878.0, 83.1),
    ),
    *_family(
        "SigLIP 2",
        APACHE,
        ("siglip:google/siglip2-base-patch32-256", 256, 768, 376.9, 74.0),
        ("siglip:google/siglip2-base-patch16-224", 224, 768, 375.2, 78.2),
        ("siglip:google/siglip2-large-patch16-256", 256, 1024, 881.5, 82.5),
        ("siglip:google/siglip2-so400m-patch14-384", 384, 1152, 1136.0, 84.1),
        ("siglip:google/siglip2-giant-opt-patch16-384", 384, 1536, 1871.9, 85.0),
    ),
    *_family("ALIGN, by Kakao Brain", None, ("auto:kakaobrain/align-base", 289, 640, None, None)),
    *_family("AltCLIP", "OpenRAIL", ("auto:BAAI/AltCLIP", 224, 768, None, None)),
    *_family("Chinese-CLIP", None, ("auto:OFA-Sys/chinese-clip-vit-base-patch16", 224, 512, None, None)),
    *_family(
        "OpenCLIP",
        MIT,
        ("openclip:ViT-B-32-256/datacomp_s34b_b86k", 256, 512, 151.3, 72.8),
        ("openclip:ViT-B-16/datacomp_xl_s13b_b90k", 224, 512, 149.6, 73.5),
        ("openclip:ViT-L-14/datacomp_xl_s13b_b90k", 224, 768, 427.6, 79.2),
        ("openclip:ViT-g-14/laion2b_s34b_b88k", 224, 1024, 1366.7, 78.5),
        ("openclip:ViT-bigG-14/laion2b_s39b_b160k", 224, 1280, 2539.6, 80.1),
    ),
    *_family(
        "DFN, through OpenCLIP",
        APPLE,
        ("openclip:ViT-L-14-quickgelu/dfn2b", 224, 768, 427.6, 81.4),
        ("openclip:ViT-H-14-378-quickgelu/dfn5b", 378, 1024, 986.7, 84.4),
    ),
    *_family(
        "EVA, through OpenCLIP",
        MIT,
        ("openclip:EVA02-B-16/merged2b_s8b_b131k", 224, 512, 149.7, 74.7),
        ("openclip:EVA02-L-14-336/merged2b_s6b_b61k", 336, 768, 428.1, 80.4),
        ("openclip:EVA01-g-14-plus/merged2b_s11b_b114k", 224, 1024, 1366.6, 79.3),
        ("openclip:EVA02-E-14-plus/laion2b_s9b_b144k", 224, 1024, 5044.9, 82.0),
    ),
    *_family(
        "MobileCLIP, through OpenCLIP",
        APPLE,
        ("openclip:MobileCLIP-S1/datacompdr", 256, 512, 85.0, 72.6),
        ("openclip:MobileCLIP-S2/datacompdr", 256, 512, 99.2, 74.4),
        ("openclip:MobileCLIP-B/datacompdr_lt", 224, 512, 149.8, 77.2),
    ),
    *_family(
        "SigLIP, through OpenCLIP",
        APACHE,
        ("openclip:ViT-SO400M-14-SigLIP-384/webli", 384, 1152, 878.0, 83.1),
        ("openclip:ViT-gopt-16-SigLIP2-384/webli", 384, 1536, 1871.9, 85.0),
    ),
)

"""Other libraries as the book's functions: thin adapters, each of which calls the library's own code and nothing else.

An adapter has the arguments of an equation. Numbers come as tensors of shape (1, 1, 1, n), which every library takes as
pictures; a `Step` comes with a `Place`, which says where it stands in a table of betas. A library is imported only
inside its adapters. What an adapter has to undo (logarithms, other letters, states that are not shrunk) is a convention
of the library, and says where the library states it.

To add a library: a file with `questions` and `walks`, and a row here.
"""

from __future__ import annotations

from . import azula, deepinv, diffusers, flows, k_diffusion, labml, lucidrains, moco, monai, smalldiffusion
from .asked import Library

LIBRARIES: dict[str, Library] = {
    "diffusers": Library("diffusers", "diffusers", diffusers.questions, diffusers.walks),
    "monai": Library("monai", "monai", monai.questions, monai.walks),
    "lucidrains": Library(
        "denoising_diffusion_pytorch", "denoising-diffusion-pytorch", lucidrains.questions, lucidrains.walks
    ),
    "moco": Library("bionemo.moco", "bionemo-moco", moco.questions, moco.walks, ("linear",)),
    "labml": Library("labml_nn", "labml-nn", labml.questions, labml.walks, ("linear",)),
    "smalldiffusion": Library("smalldiffusion", "smalldiffusion", smalldiffusion.questions, smalldiffusion.walks),
    "k-diffusion": Library("k_diffusion", "k-diffusion", k_diffusion.questions, k_diffusion.walks),
    "azula": Library("azula", "azula", azula.questions, azula.walks),
    "deepinv": Library("deepinv", "deepinv", deepinv.questions, deepinv.walks),
    "torchcfm": Library("torchcfm", "torchcfm", flows.torchcfm_questions, list),
    "flow_matching": Library("flow_matching", "flow-matching", flows.flow_matching_questions, list),
}
"""Every library, by the name that `tinyddpm check --library` takes."""

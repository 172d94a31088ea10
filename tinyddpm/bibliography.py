"""The works that the equations come from, by the name that `@equation` cites them with."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One published work. Its `text` and its `bibtex` are both made from these fields."""

    key: str
    authors: str
    title: str
    venue: str
    year: int
    url: str = ""
    kind: str = "article"

    @property
    def text(self) -> str:
        """The full reference on one line."""
        return f"{self.authors}. {self.title}. {self.venue}, {self.year}.{f' {self.url}' if self.url else ''}"

    @property
    def bibtex(self) -> str:
        """The BibTeX entry."""
        venue = {"article": "journal", "inproceedings": "booktitle", "book": "publisher", "misc": "howpublished"}
        fields = {
            "author": self.authors.replace(", ", " and ").replace(" and and ", " and "),
            "title": f"{{{self.title}}}",
            venue[self.kind]: self.venue,
            "year": str(self.year),
            "url": self.url,
        }
        rows = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{self.kind}{{{self.anchor},", *rows, "}"])

    @property
    def anchor(self) -> str:
        """The key as a word of letters and digits, for BibTeX and for links."""
        return "".join(letter for letter in self.key.lower() if letter.isalnum())


def _arxiv(number: str) -> str:
    return f"https://arxiv.org/abs/{number}"


REFERENCES = {
    work.key: work
    for work in (
        Reference(
            "Bao et al. 2022",
            "Fan Bao, Chongxuan Li, Jun Zhu, Bo Zhang",
            "Analytic-DPM: an Analytic Estimate of the Optimal Reverse Variance in Diffusion Probabilistic Models",
            "International Conference on Learning Representations",
            2022,
            _arxiv("2201.06503"),
            "inproceedings",
        ),
        Reference(
            "Billingsley 1995",
            "Patrick Billingsley",
            "Probability and Measure",
            "Wiley, third edition",
            1995,
            kind="book",
        ),
        Reference(
            "Bishop 2006",
            "Christopher M. Bishop",
            "Pattern Recognition and Machine Learning",
            "Springer",
            2006,
            kind="book",
        ),
        Reference(
            "Bonneel et al. 2015",
            "Nicolas Bonneel, Julien Rabin, Gabriel Peyré, Hanspeter Pfister",
            "Sliced and Radon Wasserstein Barycenters of Measures",
            "Journal of Mathematical Imaging and Vision",
            2015,
            kind="article",
        ),
        Reference(
            "DDIM",
            "Jiaming Song, Chenlin Meng, Stefano Ermon",
            "Denoising Diffusion Implicit Models",
            "International Conference on Learning Representations",
            2021,
            _arxiv("2010.02502"),
            "inproceedings",
        ),
        Reference(
            "Efron 2011",
            "Bradley Efron",
            "Tweedie's Formula and Selection Bias",
            "Journal of the American Statistical Association 106(496)",
            2011,
        ),
        Reference(
            "Hang et al. 2023",
            "Tiankai Hang, Shuyang Gu, Chen Li, Jianmin Bao, Dong Chen, Han Hu, Xin Geng, Baining Guo",
            "Efficient Diffusion Training via Min-SNR Weighting Strategy",
            "IEEE/CVF International Conference on Computer Vision",
            2023,
            _arxiv("2303.09556"),
            "inproceedings",
        ),
        Reference(
            "Heusel et al. 2017",
            "Martin Heusel, Hubert Ramsauer, Thomas Unterthiner, Bernhard Nessler, Sepp Hochreiter",
            "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
            "Advances in Neural Information Processing Systems",
            2017,
            _arxiv("1706.08500"),
            "inproceedings",
        ),
        Reference(
            "Ho & Salimans 2022",
            "Jonathan Ho, Tim Salimans",
            "Classifier-Free Diffusion Guidance",
            "arXiv",
            2022,
            _arxiv("2207.12598"),
            "misc",
        ),
        Reference(
            "Ho et al. 2020",
            "Jonathan Ho, Ajay Jain, Pieter Abbeel",
            "Denoising Diffusion Probabilistic Models",
            "Advances in Neural Information Processing Systems",
            2020,
            _arxiv("2006.11239"),
            "inproceedings",
        ),
        Reference(
            "Hyvarinen 2005",
            "Aapo Hyvärinen",
            "Estimation of Non-Normalized Statistical Models by Score Matching",
            "Journal of Machine Learning Research 6",
            2005,
        ),
        Reference(
            "SCDM",
            "Fan Bao, Chongxuan Li, Jiacheng Sun, Jun Zhu",
            "Why Are Conditional Generative Models Better Than Unconditional Ones?",
            "NeurIPS Workshop on Score-Based Methods",
            2022,
            _arxiv("2212.00362"),
            "inproceedings",
        ),
        Reference(
            "Karras et al. 2022",
            "Tero Karras, Miika Aittala, Timo Aila, Samuli Laine",
            "Elucidating the Design Space of Diffusion-Based Generative Models",
            "Advances in Neural Information Processing Systems",
            2022,
            _arxiv("2206.00364"),
            "inproceedings",
        ),
        Reference(
            "Karras et al. 2024",
            "Tero Karras, Miika Aittala, Jaakko Lehtinen, Janne Hellsten, Timo Aila, Samuli Laine",
            "Analyzing and Improving the Training Dynamics of Diffusion Models",
            "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
            2024,
            _arxiv("2312.02696"),
            "inproceedings",
        ),
        Reference(
            "Kingma & Welling 2014",
            "Diederik P. Kingma, Max Welling",
            "Auto-Encoding Variational Bayes",
            "International Conference on Learning Representations",
            2014,
            _arxiv("1312.6114"),
            "inproceedings",
        ),
        Reference(
            "Kloeden & Platen 1992",
            "Peter E. Kloeden, Eckhard Platen",
            "Numerical Solution of Stochastic Differential Equations",
            "Springer",
            1992,
            kind="book",
        ),
        Reference(
            "Lin et al. 2023",
            "Shanchuan Lin, Bingchen Liu, Jiashi Li, Xiao Yang",
            "Common Diffusion Noise Schedules and Sample Steps are Flawed",
            "IEEE/CVF Winter Conference on Applications of Computer Vision",
            2024,
            _arxiv("2305.08891"),
            "inproceedings",
        ),
        Reference(
            "Lu et al. 2022",
            "Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li, Jun Zhu",
            "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
            "arXiv",
            2022,
            _arxiv("2211.01095"),
            "misc",
        ),
        Reference(
            "Lucas et al. 2019",
            "James Lucas, George Tucker, Roger Grosse, Mohammad Norouzi",
            "Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse",
            "Advances in Neural Information Processing Systems",
            2019,
            _arxiv("1911.02469"),
            "inproceedings",
        ),
        Reference(
            "Luo 2022",
            "Calvin Luo",
            "Understanding Diffusion Models: A Unified Perspective",
            "arXiv",
            2022,
            _arxiv("2208.11970"),
            "misc",
        ),
        Reference(
            "Nichol & Dhariwal 2021",
            "Alex Nichol, Prafulla Dhariwal",
            "Improved Denoising Diffusion Probabilistic Models",
            "International Conference on Machine Learning",
            2021,
            _arxiv("2102.09672"),
            "inproceedings",
        ),
        Reference(
            "Rombach et al. 2022",
            "Robin Rombach, Andreas Blattmann, Dominik Lorenz, Patrick Esser, Björn Ommer",
            "High-Resolution Image Synthesis with Latent Diffusion Models",
            "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
            2022,
            _arxiv("2112.10752"),
            "inproceedings",
        ),
        Reference(
            "Salimans & Ho 2022",
            "Tim Salimans, Jonathan Ho",
            "Progressive Distillation for Fast Sampling of Diffusion Models",
            "International Conference on Learning Representations",
            2022,
            _arxiv("2202.00512"),
            "inproceedings",
        ),
        Reference(
            "Shoemake 1985",
            "Ken Shoemake",
            "Animating Rotation with Quaternion Curves",
            "SIGGRAPH",
            1985,
            kind="inproceedings",
        ),
        Reference(
            "Sohl-Dickstein et al. 2015",
            "Jascha Sohl-Dickstein, Eric A. Weiss, Niru Maheswaranathan, Surya Ganguli",
            "Deep Unsupervised Learning using Nonequilibrium Thermodynamics",
            "International Conference on Machine Learning",
            2015,
            _arxiv("1503.03585"),
            "inproceedings",
        ),
        Reference(
            "Song & Ermon 2019",
            "Yang Song, Stefano Ermon",
            "Generative Modeling by Estimating Gradients of the Data Distribution",
            "Advances in Neural Information Processing Systems",
            2019,
            _arxiv("1907.05600"),
            "inproceedings",
        ),
        Reference(
            "Song et al. 2021",
            "Yang Song, Jascha Sohl-Dickstein, Diederik P. Kingma, Abhishek Kumar, Stefano Ermon, Ben Poole",
            "Score-Based Generative Modeling through Stochastic Differential Equations",
            "International Conference on Learning Representations",
            2021,
            _arxiv("2011.13456"),
            "inproceedings",
        ),
        Reference(
            "Su 2022",
            "Jianlin Su",
            "A series of posts on generative diffusion models, parts 1 and 2 (in Chinese)",
            "Scientific Spaces",
            2022,
            "https://kexue.fm/archives/9119",
            "misc",
        ),
        Reference(
            "Theis et al. 2016",
            "Lucas Theis, Aäron van den Oord, Matthias Bethge",
            "A Note on the Evaluation of Generative Models",
            "International Conference on Learning Representations",
            2016,
            _arxiv("1511.01844"),
            "inproceedings",
        ),
        Reference(
            "Tipping & Bishop 1999",
            "Michael E. Tipping, Christopher M. Bishop",
            "Probabilistic Principal Component Analysis",
            "Journal of the Royal Statistical Society B 61(3), 611-622",
            1999,
            kind="article",
        ),
        Reference(
            "Vahdat & Kautz 2020",
            "Arash Vahdat, Jan Kautz",
            "NVAE: A Deep Hierarchical Variational Autoencoder",
            "Advances in Neural Information Processing Systems",
            2020,
            _arxiv("2007.03898"),
            "inproceedings",
        ),
        Reference(
            "van den Oord et al. 2017",
            "Aäron van den Oord, Oriol Vinyals, Koray Kavukcuoglu",
            "Neural Discrete Representation Learning",
            "Advances in Neural Information Processing Systems",
            2017,
            _arxiv("1711.00937"),
            "inproceedings",
        ),
        Reference(
            "VDM",
            "Diederik P. Kingma, Tim Salimans, Ben Poole, Jonathan Ho",
            "Variational Diffusion Models",
            "Advances in Neural Information Processing Systems",
            2021,
            _arxiv("2107.00630"),
            "inproceedings",
        ),
        Reference(
            "Vincent 2011",
            "Pascal Vincent",
            "A Connection Between Score Matching and Denoising Autoencoders",
            "Neural Computation 23(7)",
            2011,
        ),
        Reference(
            "Welling & Teh 2011",
            "Max Welling, Yee Whye Teh",
            "Bayesian Learning via Stochastic Gradient Langevin Dynamics",
            "International Conference on Machine Learning",
            2011,
            kind="inproceedings",
        ),
    )
}
"""Every work by its key, in the order of the alphabet."""

DERIVED = "derived here"
"""The source of an equation that is this book's own derivation."""


def cite(source: str) -> list[Reference]:
    """The works that a source names, such as ``"VDM, Eq. 2; Lin et al. 2023, Eq. 5"``; none for ``"derived here"``.

    Raises:
        ValueError: when a work is not in `REFERENCES`; the message names the nearest one.
    """
    if source == DERIVED:
        return []
    keys = [part.strip().split(",")[0] for part in source.split(";")]
    for key in keys:
        if key not in REFERENCES:
            near = difflib.get_close_matches(key, REFERENCES, n=1, cutoff=0.0)
            raise ValueError(f"source {key!r} is not in the bibliography; nearest: {near[0]}")
    return [REFERENCES[key] for key in keys]

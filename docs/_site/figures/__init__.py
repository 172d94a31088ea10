"""The figures of the book: one file a chapter, one public function a figure.

In ``docs/_site/figures/forward.py``::

    from .style import BLUE, Figure, figure

    def two_noises() -> Figure:
        fig, (left, right) = figure(1, 2)
        left.plot(...)
        return fig

In ``docs/forward.md``, as a paragraph of its own, the caption (if any) in italics under it; the caption may hold
formulas, links and `[[eq:...]]`, the text in brackets is what a screen reader says and is plain::

    ![Sum of two Gaussian noises on the left, of two uniform ones on the right](figure:forward.two_noises)
    *Two noises, added. The right one is a triangle: equal variance does not make it Gaussian.*

A function takes no arguments and returns a matplotlib figure made by `style.figure`; helpers begin with an underscore.
Let the package compute what is drawn, and seed every generator. To look at one figure, on white and on dark::

    python docs/_site/draw.py forward.two_noises out.png

Text and axes are drawn in `style.INK`, which becomes the page's own text colour, so that one file serves the light and
the dark page. The drawings are kept in ``.cache/figures`` under the hash of their sources.
"""

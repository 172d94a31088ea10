"""The colours of the figures: each at least 3:1 against white and against a dark page."""

BLUE = "#3380cc"
ORANGE = "#d4700c"
GREEN = "#159a74"
PINK = "#cb5c9e"
VIOLET = "#8a72d8"
GREY = "#868c96"
PALETTE = (BLUE, ORANGE, GREEN, PINK, VIOLET, GREY)
"""Told apart with any colour vision, in this order."""

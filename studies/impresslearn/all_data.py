"""Figures 2 to 9 together, because some claims of the paper speak of several data sets at once.

All runs are those of the figures.
"""

from . import fig_02, fig_03, fig_04, fig_05, fig_07, fig_08, fig_09
from .common import joined

FIGURES = {
    "rotated": (fig_02, fig_07),
    "permuted": (fig_03, fig_08),
    "cifar": (fig_04, fig_09),
    "imagenet": (fig_05,),
}

STUDY = joined({name: [figure.STUDY for figure in figures] for name, figures in FIGURES.items()})
SMALL = joined({name: [figure.SMALL for figure in figures] for name, figures in FIGURES.items()})

"""Figures and pictures from arrays, for results, the report and users; nothing here knows a pair."""

from pyrovae.plots.cell_shares import cell_shares
from pyrovae.plots.data_figures import reconstructions, samples
from pyrovae.plots.latent_plane import latent
from pyrovae.plots.moved_latents import plane, traversal
from pyrovae.plots.uncertainty_maps import uncertainty_maps

__all__ = ["cell_shares", "latent", "plane", "reconstructions", "samples", "traversal", "uncertainty_maps"]

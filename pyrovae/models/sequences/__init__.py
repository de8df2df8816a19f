"""Series of one or several numbers a step, of several lengths and with gaps: chains of latents, and what reads them."""

"""What leaves for others: ArviZ in both generations, netCDF, Zarr; model cards, compressed data, exported graphs."""

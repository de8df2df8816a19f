"""What leaves for others: ArviZ in both generations, netCDF, Zarr."""

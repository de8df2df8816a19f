"""What users give, on its way to batches on the device: arrays, frames, loaders, files, images and tables."""

"""Views: random renderings of stored images on whole batches, on the device, with draws of their own for each image."""

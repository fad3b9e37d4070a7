"""What is wrong in an archive: label errors, missing labels, out-of-domain images, near-duplicates."""

"""Data: images from disk, splits that never divide a group, augmentation, and batches of crops.

`images`, `splits` and `augment` work without torch; `loader` belongs to the extra `train`.
"""

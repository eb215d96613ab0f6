"""Data: images from disk or rendered, splits that never divide a group, augmentation, and batches of crops.

`images`, `splits` and `augment` work without torch; `rendered` and `loader` belong to the extra `train`.
"""

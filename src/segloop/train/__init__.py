"""Training: data, augmentation, the loop, and the guard that compares before with after."""

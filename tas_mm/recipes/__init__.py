"""From two names and a folder of images to a training config: networks, data, hyperparameters, text."""

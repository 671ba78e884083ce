"""Recipes: from two names and a folder of images to a training config."""

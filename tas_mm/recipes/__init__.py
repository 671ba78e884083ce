"""Recipes: from two names and a folder of images, or a pair and a method, to a training config."""

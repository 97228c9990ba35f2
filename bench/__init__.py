"""Measured figures: side by side in one run, as ratios of medians. `python -m bench` runs and prints them all."""

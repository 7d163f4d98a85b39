"""Pretrained weights as files: names, shapes and configurations, readable without an array framework but numpy."""

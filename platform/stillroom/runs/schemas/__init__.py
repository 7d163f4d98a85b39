"""Shapes on the wire of recipes, projects, runs and studies."""

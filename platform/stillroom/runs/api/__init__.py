"""Doors to recipes, projects, studies and runs."""

from stillroom.runs.api import projects, query, recipes, runs, studies

doors = (recipes.door, projects.door, runs.door, studies.door, query.door)

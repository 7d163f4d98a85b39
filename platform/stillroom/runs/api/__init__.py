"""Doors to recipes, projects, studies and runs."""

from stillroom.runs.api import external, projects, query, recipes, runs, studies

doors = (recipes.door, projects.door, runs.door, external.door, studies.door, query.door)

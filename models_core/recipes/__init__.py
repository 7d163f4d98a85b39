"""One file per kind of experiment. Recipes never import each other."""

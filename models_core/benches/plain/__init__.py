"""What recipes on images and on tables of known sources ask of a framework: the same methods over `jax` and `torch`.

Such a recipe writes its losses once: indexing, products, `sum`, `mean` and `xp.where` mean the same in both, and
`losses` and `sparse` are the modules of the framework.
"""

"""The search language of runs: text to a tree, a tree to SQL with bound parameters, and what may come next.

A superset of MLflow's filters (docs/reference/query-language.md). Nothing a person types ever becomes SQL text.
"""

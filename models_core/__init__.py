"""The model core: decoders, optimizers, distillation, federated simulation, and the recipes built from them.

A library on its own: it knows no Django, Celery, Redis or HTTP. `python -m models_core --help` runs it without the
platform.
"""

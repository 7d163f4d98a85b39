"""Teacher targets on disk: written once, read by any number of students, refused by all others.

A folder of shards (safetensors) and one manifest.json. Targets are stored in the order of the student's steps.
"""

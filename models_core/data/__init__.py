"""Data sets, one file each, and how their examples are ordered and spread over clients.

A module with `SOURCE` is a data set: real data that a package or the interpreter carries. Nothing here downloads
anything.
"""

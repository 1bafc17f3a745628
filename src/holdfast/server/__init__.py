"""The page and the REST API, which ``holdfast serve`` serves, on loopback by default.

The web framework enters only here.
"""

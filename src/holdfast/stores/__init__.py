"""Artifact stores: one file each."""

"""Campaigns that kill real processes under load and audit what is left."""

"""Profiles of networks and torch modules on the attached CPU or GPU."""

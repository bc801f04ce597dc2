"""Profiles: where the time of a measured run went. Only `live/` needs torch."""

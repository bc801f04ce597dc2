"""Devices and links: peaks, memory, bandwidth, each with its source, and their reader."""

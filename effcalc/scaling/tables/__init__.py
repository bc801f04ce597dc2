"""Tables of networks and of what they cost."""

"""How long a network takes on a device: from its operator calls, with a tested interval."""

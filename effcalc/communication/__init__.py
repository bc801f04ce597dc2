"""What distributed training sends: collectives, strategies, links, and how much of it shows."""

"""What distributed training sends: collectives, strategies, links, and exposed time."""

"""What a payment, a webhook and a live update cost, measured beside a floor: the least that the same work can cost."""

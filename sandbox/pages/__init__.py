"""The pages that Stripe shows to people: plain HTML that works without scripts."""

"""Plans: what can be subscribed to, as the platform's backend tells of it, and as Stripe has it."""

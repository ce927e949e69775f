"""What guests have saved to pay with: asked for, kept as Stripe has it, and used."""

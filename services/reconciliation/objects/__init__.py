"""What is compared, kind by kind: how Stripe lists it, what each side says of it, and how it is put right."""

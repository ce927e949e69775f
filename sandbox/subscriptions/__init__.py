"""What subscriptions do: periods, prorations, states, schedules ("How subscriptions work")."""

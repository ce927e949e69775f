"""What clients see: types, inputs, enums, scalars, errors and connections. No rule about money lives here."""

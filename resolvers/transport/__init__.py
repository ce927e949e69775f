"""GraphQL on the wire: over HTTP and websockets, within limits, with errors that clients can act on."""
